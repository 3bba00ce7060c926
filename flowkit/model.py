"""The model: a network, a head that says what its output means, and the path that relates the quantities."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from .conditions import Condition
from .errors import UnsupportedError, require_object
from .interfaces.head import Head
from .interfaces.path import Path
from .interfaces.predictor import Predictor
from .interfaces.quantity import Quantity, as_quantities
from .shapes import Time, batch_times

__all__ = ["Model"]


class Model(nn.Module, Predictor):
    """Velocity, score and denoiser from one network, whichever of them it was trained to predict.

    Arguments:
        network: Any module with `forward(x, t, y=None)`.
        head: What the network's output means.
        path: Turns one quantity into another.
        data_mean: E[z] in the model's units, which decides the velocity where x_t is pure noise and the
            head predicts noise or score.

    Examples:
        >>> model = Model(network, VelocityHead(), GaussianPath(CondOT()))
        >>> model.score(x, 0.5).shape == x.shape
    """

    data_mean: Tensor

    def __init__(self, network: nn.Module, head: Head, path: Path, data_mean: Tensor | float = 0.0) -> None:
        super().__init__()
        require_object("head", head, Head)
        require_object("path", path, Path)
        self.network, self.head, self.path = network, head, path
        self.register_buffer("data_mean", torch.as_tensor(data_mean, dtype=torch.float32))

    @property
    def event_shape(self) -> tuple[int, ...] | None:  # type: ignore[override]
        """That of `data_mean`, unless it is one number for all."""
        return tuple(self.data_mean.shape) or None

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """What the head predicts."""
        return self.head.quantities

    @property
    def dtype(self) -> torch.dtype:
        """What the network computes in: the type of its weights."""
        return next((p.dtype for p in self.network.parameters() if p.is_floating_point()), torch.float32)

    def can_predict(self, wanted: Quantity | str) -> bool:
        """Whether the head predicts it or the path converts something to it."""
        (quantity,) = as_quantities(wanted)
        return any(self.path.can_convert(given, quantity) for given in self.head.quantities)

    def predict(
        self, x: Tensor, t: Time, y: Condition, wanted: Iterable[Quantity | str] | Quantity | str
    ) -> tuple[Tensor, ...]:
        """Several fields at (x, t) from one call of the network, also by their names. See `Predictor.predict`."""
        wanted = as_quantities(wanted)
        given = self.head.predict(self.network, x, batch_times(t, x), y, self.path)
        return tuple(self._field(given, x, t, quantity) for quantity in wanted)

    def _field(self, given: dict[Quantity, Tensor], x: Tensor, t: Time, wanted: Quantity) -> Tensor:
        if wanted in given:
            return given[wanted]
        for quantity, value in given.items():
            if self.path.can_convert(quantity, wanted):
                return self.path.convert(value, x, t, quantity, wanted, self.data_mean.to(x.dtype))
        predicted = " and ".join(quantity.value for quantity in given)
        raise UnsupportedError(
            f"this model predicts the {predicted}, from which {type(self.path).__name__} gives no {wanted.value}"
        )

    def forward(self, x: Tensor, t: Time, y: Condition = None) -> Tensor:
        """The velocity u_t(x)."""
        return self.velocity(x, t, y)
