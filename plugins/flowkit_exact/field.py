"""What the exact fields have in common: five views of one posterior."""

from abc import abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from flowkit import Condition, Path, Predictor, Quantity, Schedule, Time, UnsupportedError, holds_anywhere

__all__ = ["Coefficients", "ExactField", "Posterior"]


class Coefficients(NamedTuple):
    """The schedule at a time, float64 of shape () or (batch, 1)."""

    alpha: Tensor
    beta: Tensor
    alpha_dot: Tensor
    beta_dot: Tensor


class Posterior(NamedTuple):
    """What x_t = x says of its two ends, each of shape (batch, d).

    Arguments:
        data: D = E[z | x].
        noise: N = E[x0 | x], or None where no limit exists.
        score: grad log p_t(x), or None where no limit exists.
    """

    data: Tensor
    noise: Tensor | None
    score: Tensor | None


class ExactField(nn.Module, Predictor):
    r"""The marginal fields of a Gaussian path, $x_t = \alpha_t z + \beta_t x_0$, to data whose posterior is known.

    With D = E[z|x] and N = E[x_0|x],

    $$u_t(x) = \dot\alpha_t D + \dot\beta_t N, \qquad s_t(x) = -N/\beta_t, \qquad v = \alpha_t N - \beta_t D.$$

    A subclass gives the posterior. A field is a module without weights, so that `.to(device)` takes its data along. It
    computes in float64, whatever the type of x.

    Arguments:
        path: A Gaussian path.
    """

    independent = True

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.schedule = _gaussian_schedule(path)
        self.path = path

    @abstractmethod
    def posterior(self, x: Tensor, at: Coefficients, y: Condition) -> Posterior:
        """The posterior means, for x of shape (batch, d) in float64."""

    @abstractmethod
    def log_prob(self, x: Tensor, t: Time = 1.0, y: Condition = None) -> Tensor:
        """Log p_t(x), or log p_t(x|y) where y has a label, in nats, shape (batch,)."""

    @abstractmethod
    def sample(self, n: int, t: float = 1.0, y: Condition = None, generator: torch.Generator | None = None) -> Tensor:
        """`n` independent draws of p_t, or of p_t(.|y) for labels y of shape (n,); shape (n, *event)."""

    def can_predict(self, wanted: Quantity) -> bool:
        """Always, if not at every time."""
        return True

    def predict(self, x: Tensor, t: Time, y: Condition, wanted: tuple[Quantity, ...]) -> tuple[Tensor, ...]:
        """Several fields at (x, t) from one posterior. See `Predictor.predict`."""
        at = self.coefficients(t, x)
        posterior = self.posterior(x.flatten(1).double(), at, y)
        return tuple(self._view(posterior, at, quantity).reshape(x.shape).to(x.dtype) for quantity in wanted)

    def forward(self, x: Tensor, t: Time, y: Condition = None) -> Tensor:
        """The velocity u_t(x)."""
        return self.velocity(x, t, y)

    def coefficients(self, t: Time, x: Tensor) -> Coefficients:
        """The schedule at t, ready to be multiplied with the flattened x."""
        time = (
            t[:, None].to(x.device) if isinstance(t, Tensor) and t.ndim else torch.tensor(float(t), dtype=torch.float64)
        )
        schedule = self.schedule
        functions = (schedule.alpha, schedule.beta, schedule.alpha_dot, schedule.beta_dot)
        return Coefficients(*(function(time.double()) for function in functions))

    def _view(self, posterior: Posterior, at: Coefficients, wanted: Quantity) -> Tensor:
        data, noise, score = posterior
        if wanted is Quantity.DATA:
            return data
        if wanted is Quantity.SCORE and score is not None:
            return score
        if noise is None or wanted is Quantity.SCORE:
            raise UnsupportedError(
                f"the {wanted.value} of {type(self).__name__} has no limit at this time, where beta is 0: {STOP_SHORT}"
            )
        if wanted is Quantity.NOISE:
            return noise
        if wanted is Quantity.V:
            return at.alpha * noise - at.beta * data
        if holds_anywhere(at.beta_dot.isinf()):
            raise UnsupportedError(
                f"the velocity is not determined at this time, where the derivative of beta is infinite: {STOP_SHORT}"
            )
        return at.alpha_dot * data + at.beta_dot * noise


STOP_SHORT = "take times that end before it, or an integrator that does not evaluate there (euler, midpoint)"


def labels_of(y: Condition, classes: int, of: str) -> Tensor | None:
    """The labels, int64 of shape (batch,), -1 for none.

    Raises:
        UnsupportedError: They are of another sort, or out of range.
    """
    if y is None:
        return None
    if not isinstance(y, Tensor) or y.is_floating_point():
        raise UnsupportedError(f"y must be whole numbers, one label for each x, -1 for none; got {y!r}")
    if not classes:
        raise UnsupportedError(f"{of} has no labels: leave y out")
    if holds_anywhere((y < -1) | (y >= classes)):
        raise UnsupportedError(f"y must be labels from 0 to {classes - 1}, or -1 for none; got {y.unique().tolist()}")
    return y.long()


def _gaussian_schedule(path: Path) -> Schedule:
    if path.schedule is None or not path.can_convert(Quantity.DATA, Quantity.SCORE):
        raise ValueError(f"path must be a Gaussian path, x_t = alpha_t z + beta_t x0; got {type(path).__name__}")
    return path.schedule
