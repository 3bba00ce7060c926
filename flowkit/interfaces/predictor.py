"""The marginal fields that samplers ask for, whoever computes them."""

from abc import ABC, abstractmethod

from torch import Tensor

from ..conditions import Condition
from ..shapes import Time
from .data import Normalization
from .quantity import Quantity

__all__ = ["Predictor"]


class Predictor(ABC):
    """Anything that knows the marginal fields of a path: a trained model, a guided one, a closed form.

    Samplers see only this. A time is one number for the whole batch or a tensor of shape (batch,).
    """

    independent: bool | None = None
    """Whether its fields are those of a path whose x0 says nothing of z; None if that is not known."""

    event_shape: tuple[int, ...] | None = None
    """The shape of one state; None if that is not known, or any will do."""

    normalization: Normalization | None = None
    """The units of its states; None if they are not known."""

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """What it predicts without a conversion of its path, at every time; empty if that is not known."""
        return ()

    @abstractmethod
    def predict(self, x: Tensor, t: Time, y: Condition, wanted: tuple[Quantity, ...]) -> tuple[Tensor, ...]:
        """Several fields at (x, t), from one evaluation.

        Arguments:
            x: Shape (batch, *event).
            t: One time, or shape (batch,).
            y: The conditions, or None.
            wanted: Which fields.

        Returns:
            One tensor of shape (batch, *event) for each of `wanted`.

        Raises:
            UnsupportedError: A field is not available, or not at this time.
        """

    @abstractmethod
    def can_predict(self, wanted: Quantity) -> bool:
        """Whether the field is available at all."""

    def velocity(self, x: Tensor, t: Time, y: Condition = None) -> Tensor:
        """u_t(x), shape (batch, *event)."""
        return self.predict(x, t, y, (Quantity.VELOCITY,))[0]

    def score(self, x: Tensor, t: Time, y: Condition = None) -> Tensor:
        """s_t(x) = grad log p_t(x), shape (batch, *event)."""
        return self.predict(x, t, y, (Quantity.SCORE,))[0]

    def denoise(self, x: Tensor, t: Time, y: Condition = None) -> Tensor:
        """E[z | x_t = x], shape (batch, *event)."""
        return self.predict(x, t, y, (Quantity.DATA,))[0]
