r"""The conditional probability path $p_t(x|z)$ and its fields."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..errors import UnsupportedError
from ..shapes import Time
from .predictor import Predictor
from .quantity import Quantity
from .schedule import Schedule

__all__ = ["Path"]


class Path(ABC):
    r"""A conditional probability path from p_init at t = 0 to the data point z at t = 1.

    It is given by its flow, $x_t = \psi_t(x_0; z)$ with $x_0 \sim p_{init}$, in which a path may put noise of
    its own that `sample` draws. Its conditional velocity is the time derivative along that flow,

    $$u_t(x_t|z) = \frac{d}{dt} \psi_t(x_0; z),$$

    and, where p_t(x|z) has a density that the path knows, its conditional score is grad log p_t(x|z).

    A subclass gives `sample` and `velocity`; `score` and `convert` are optional, and what is missing is
    refused by name when a pipeline is built. Everywhere x, x0, z have shape (batch, *event) and t (batch,). The
    standard paths take one time for all as well, as a number or of shape ().

    References:
        Lipman et al. 2023, Flow Matching for Generative Modeling, section 3. https://arxiv.org/abs/2210.02747
    """

    schedule: Schedule | None = None
    """alpha_t and beta_t of a path that has one, which components of noise levels ask for."""

    two_sided: ClassVar[bool] = False
    """Whether velocity and score are those of p_t(x|x0, z), given both ends: then the score too averages to the
    marginal one for every coupling."""

    @abstractmethod
    def sample(self, x0: Tensor, z: Tensor, t: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The point x_t of the flow that starts at x0 and ends at z.

        Arguments:
            x0: Draws of p_init.
            z: Data points.
            t: Times.
            generator: The source of the path's own noise, if it has any.
        """

    @abstractmethod
    def velocity(self, x: Tensor, x0: Tensor, z: Tensor, t: Tensor) -> Tensor:
        """u_t(x|z) at x = `sample(x0, z, t)`."""

    def score(self, x: Tensor, x0: Tensor, z: Tensor, t: Tensor) -> Tensor:
        """Grad log p_t(x|z) at x = `sample(x0, z, t)`.

        Raises:
            UnsupportedError: This path has no score.
        """
        raise UnsupportedError(f"{type(self).__name__} has no score")

    def start_noise(self, t: float) -> float:
        """The deviation of the path's own noise at t, which sampling adds to where a grid begins there."""
        del t
        return 0.0

    def start_scale(self, t: float) -> float:
        """The factor of a draw of p_init that stands for a state at t, where a grid begins there.

        At 0 it is that of x0 in x, as far as x0 decides it. After it p_t has something of the data too, and a path may
        know how much larger that makes a state.
        """
        del t
        return 1.0

    @property
    def has_score(self) -> bool:
        """Whether `score` is implemented."""
        return type(self).score is not Path.score

    def can_convert(self, given: Quantity, wanted: Quantity) -> bool:
        """Whether `convert` works for this pair."""
        return given is wanted

    def convert(
        self,
        value: Tensor,
        x: Tensor,
        t: Time,
        given: Quantity,
        wanted: Quantity,
        data_mean: Tensor | float = 0.0,
    ) -> Tensor:
        """Turn a marginal prediction of one quantity into another at (x, t).

        Arguments:
            value: The prediction, shape (batch, *event).
            x: The state, shape (batch, *event).
            t: One time for all, or shape (batch,).
            given: What `value` is.
            wanted: What to return.
            data_mean: E[z]: what is known of z where x_t is pure noise.

        Raises:
            UnsupportedError: The path has no such conversion, or not at this time.
        """
        if given is wanted:
            return value
        raise UnsupportedError(
            f"{type(self).__name__} cannot turn a {given.value} into a {wanted.value}: choose a head that "
            f"predicts the {wanted.value}"
        )

    def reschedule(self, model: Predictor, schedule: Schedule) -> "tuple[Predictor, Path]":
        """The model's fields as they are on another schedule, and the path that has it.

        Arguments:
            model: Predicts fields of this path.
            schedule: The other schedule.

        Raises:
            UnsupportedError: This path has no schedule.
        """
        del model, schedule
        raise UnsupportedError(f"{type(self).__name__} has no schedule that could be changed: leave it out")

    def slope(self, t: Tensor, given: Quantity, wanted: Quantity) -> Tensor:
        """How an error of one quantity becomes an error of another: d wanted / d given at fixed x, shape (batch,).

        For conversions that are linear with one coefficient at each time, as those of a Gaussian path are.

        Raises:
            UnsupportedError: The path has no such conversion, or not at this time.
        """
        one = torch.ones_like(t)[:, None]
        return self.convert(one, torch.zeros_like(one), t, given, wanted)[:, 0]

    def problems(self, event_shape: tuple[int, ...]) -> list[str]:
        """Why this path does not go with data of this shape; asked when a pipeline is built."""
        del event_shape
        return []

    def compatible_source(self, source: Any) -> str | None:
        """Why this path cannot start from `source`, or None if it can."""
        del source
        return None

    def compatible_data(self, z: Tensor) -> str | None:
        """Why this path cannot end at `z`, some data points as the model sees them, or None if it can.

        For a path whose states are not all real vectors, but points of a manifold, say, or tokens. Asked before
        anything is trained.
        """
        del z
        return None
