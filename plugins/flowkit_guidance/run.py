"""The model of a run folder, as a part of another configuration."""

from torch import Tensor

from flowkit import Condition, Path, Pipeline, Predictor, Quantity, Time

__all__ = ["RunModel"]


class RunModel(Predictor):
    """The fields of the model in a run folder, with the averaged weights of its newest checkpoint.

    In the units of the model: it goes with models of data of that shape and in those units.

    Arguments:
        folder: The run folder, as in `flowkit sample FOLDER`.

    Raises:
        CheckpointError: There is no run, no checkpoint, or a damaged one.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        pipeline = Pipeline.load(folder)
        self.independent = pipeline.coupling.independent
        self.event_shape, self.normalization = pipeline.spec.event_shape, pipeline.normalization
        self._model = pipeline.model
        self._model.requires_grad_(False)

    @property
    def path(self) -> Path:
        """The path of the model."""
        return self._model.path

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """What its head predicts."""
        return self._model.quantities

    def can_predict(self, wanted: Quantity) -> bool:
        """What the model gives."""
        return self._model.can_predict(wanted)

    def predict(self, x: Tensor, t: Time, y: Condition, wanted: tuple[Quantity, ...]) -> tuple[Tensor, ...]:
        """Several fields, computed where x is. See `Predictor.predict`."""
        if self._model.data_mean.device != x.device:
            self._model.to(x.device)
        return self._model.predict(x, t, y, wanted)
