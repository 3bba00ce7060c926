"""A model of one schedule, sampled on another."""

import torch
from torch import Tensor

from flowkit import Condition, Predictor, Quantity, Schedule, Time, expand_time

from .conversion import convert

__all__ = ["Rescheduled"]


class Rescheduled(Predictor):
    r"""The fields on the schedule `new` from a model that was trained on `old`.

    Two states with one signal-to-noise ratio differ by a factor: with r such that
    $\bar\alpha_r / \bar\beta_r = \alpha_t / \beta_t$ (bars: old), $x_t$ on the new schedule is distributed as
    $x_r / c$ on the old one, with $c = |(\bar\alpha_r, \bar\beta_r)| / |(\alpha_t, \beta_t)|$. Given the state,
    z and x_0 have the same posterior, and v = alpha E[x_0|x] - beta E[z|x] differs by c as well:

    $$v_t(x) = \bar v_r(c\,x) / c.$$

    The other fields follow from v on the new schedule, which has no division that fails at either end.

    **Ends.** Where the old schedule has no such ratio (the end of `vp` that keeps a trace of the data, seen from
    `condot`), the nearest that it has is taken: the model is asked at r = 0 or r = 1.

    Arguments:
        model: Gives v on the old schedule, or what converts to it.
        old: The schedule of the model.
        new: The schedule to sample on.

    References:
        Karras et al. 2022, Elucidating the Design Space, appendix B.2. https://arxiv.org/abs/2206.00364
        Lipman et al. 2024, Flow Matching Guide and Code, section 4.8.2. https://arxiv.org/abs/2412.06264
    """

    def __init__(self, model: Predictor, old: Schedule, new: Schedule) -> None:
        self.model, self.old, self.new = model, old, new

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """The v of the new schedule."""
        return (Quantity.V,)

    def can_predict(self, wanted: Quantity) -> bool:
        """Everything, from a model of anything."""
        return self.model.can_predict(Quantity.V)

    def predict(self, x: Tensor, t: Time, y: Condition, wanted: tuple[Quantity, ...]) -> tuple[Tensor, ...]:
        """Several fields at (x, t) on the new schedule from one call of the model. See `Predictor.predict`."""
        old_time, scale = self._match(t)
        scale = expand_time(scale, x)
        v = self.model.predict(scale * x, old_time, y, (Quantity.V,))[0] / scale
        return tuple(v if q is Quantity.V else convert(self.new, v, x, t, Quantity.V, q) for q in wanted)

    def _match(self, t: Time) -> tuple[Tensor, Tensor]:
        """The time r and the factor c, shape () or (batch,), in float64 where the device has it."""
        time = t if isinstance(t, Tensor) and t.ndim else torch.tensor(float(t), dtype=torch.float64)
        time = time if time.device.type == "mps" else time.double()
        old_time = self.old.time_of_log_snr(self.new.log_snr(time))
        old_size = torch.hypot(self.old.alpha(old_time), self.old.beta(old_time))
        return old_time, old_size / torch.hypot(self.new.alpha(time), self.new.beta(time))
