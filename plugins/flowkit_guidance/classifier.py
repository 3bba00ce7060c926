"""Classifier guidance: along the gradient of log p(y|x)."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from flowkit import Condition, Guidance, Path, Predictor, Quantity, Time, batch_times, expand_time, no_condition

from .guided import Fields, Guided

__all__ = ["ClassifierGuidance"]


class ClassifierGuidance(Guidance):
    r"""$\tilde s_t(x|y) = s_t(x) + w\,\nabla_x \log p_t(y|x)$, and the other fields as the path relates them to it.

    For a Gaussian path the velocity becomes
    $\tilde u_t = u_t + w\,(\beta_t^2 \dot\alpha_t/\alpha_t - \beta_t \dot\beta_t)\,\nabla_x \log p_t(y|x)$. With w = 1,
    an unconditional model and its own posterior this is Bayes' rule: the conditional model. Where alpha_t = 0, x is
    noise that no classifier can tell from another, and nothing is added.

    Anything else that has a gradient, such as the log-likelihood of a measurement y, guides as well as a classifier. A
    sample without a condition (-1 or NaN) is not guided. The function is a Python object; a file cannot hold it.

    Arguments:
        log_prob: log p_t(y|x) as `log_prob(x, t, y)`, of shape (batch,), from x of shape (batch, *event), in the units
            of the model, and t of shape (batch,).
        scale: w.

    References:
        Dhariwal and Nichol 2021, Diffusion Models Beat GANs on Image Synthesis, section 4.2 and algorithm 2.
        https://arxiv.org/abs/2105.05233
    """

    needs_condition = False

    def __init__(self, log_prob: Callable[[Tensor, Tensor, Condition], Tensor], scale: float = 1.0) -> None:
        self.log_prob, self.scale = log_prob, scale

    def problems(self, model: Predictor) -> list[str]:
        """A path that does not turn scores into velocities."""
        path = getattr(model, "path", None)
        if not isinstance(path, Path) or path.can_convert(Quantity.SCORE, Quantity.VELOCITY):
            return []
        return [
            f"classifier guidance changes the score, and {type(path).__name__} does not say what becomes of the "
            f"velocity: take a Gaussian path"
        ]

    def guide(self, model: Predictor) -> Predictor:
        """The guided model."""
        return _ClassifierGuided(model, self)


class _ClassifierGuided(Guided):
    def __init__(self, model: Predictor, guidance: ClassifierGuidance) -> None:
        super().__init__(model)
        self.guidance = guidance

    def predict(self, x: Tensor, t: Time, y: Condition, wanted: tuple[Quantity, ...]) -> Fields:
        change = self.guidance.scale * self._gradient(x, batch_times(t, x), y)
        return self.moved(self.model.predict(x, t, y, wanted), t, wanted, Quantity.SCORE, change)

    def _gradient(self, x: Tensor, t: Tensor, y: Condition) -> Tensor:
        """Grad log p_t(y|x), itself differentiable where x asks for that, as a likelihood does."""
        with torch.enable_grad():
            state = x if x.requires_grad else x.detach().requires_grad_()
            total = self.guidance.log_prob(state, t, y).sum()
            (gradient,) = torch.autograd.grad(total, state, create_graph=x.requires_grad)
        return gradient if y is None else torch.where(expand_time(_has(y), x).bool(), gradient, 0.0)


def _has(y: Condition) -> Tensor:
    """Which samples have a condition, bool of shape (batch,)."""
    if isinstance(y, Mapping):
        return torch.stack([_has(value) for value in y.values()]).all(0)
    none = no_condition(y)
    assert isinstance(y, Tensor)
    assert isinstance(none, Tensor)
    missing = y.isnan() if y.is_floating_point() else y == none
    return ~missing.flatten(1).any(1) if y.ndim > 1 else ~missing
