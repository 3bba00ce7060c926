"""Predictor-corrector sampling."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Annotated

from pydantic import Field
from torch import Tensor

from flowkit import Dynamics, Generator, Quantity, randn_like

from .gaussian_integrator import GaussianIntegrator
from .schedule import Level, levels_of

__all__ = ["PredictorCorrector"]


class PredictorCorrector(GaussianIntegrator):
    r"""A step of the ODE to s, then steps of Langevin dynamics that leave p_s as it is.

    $$x \leftarrow \alpha_s D + \frac{\beta_s}{\beta_t} (x - \alpha_t D), \qquad
    x \leftarrow \alpha_s D + \sqrt{1 - \delta}\, (x - \alpha_s D) + \sqrt\delta\, \beta_s\, \xi.$$

    Since $\alpha D - x = \beta^2 s$, the corrector is $x + \epsilon\, s_t(x) + \sqrt{2\epsilon}\,\xi$ to first order
    in $\epsilon = \delta \beta^2 / 2$. With $\delta = 4\,\mathrm{snr}^2$ that is the step of Song et al.,
    $\epsilon = 2 (\mathrm{snr}\, |\xi|/|s|)^2$, with the root mean squares $\sqrt{d}$ and $\sqrt{d}/\beta$ of p_t(x|z)
    in the place of the two norms: a step that follows the norms of a sample would not leave p_t as it is, and one that
    follows those of a batch would make samples depend on each other. At t = 1, where beta = 0, there is no correction.

    Weak order 1, with an error of order delta of its own that shorter steps do not remove.

    Arguments:
        snr: The signal-to-noise ratio of a correction.
        corrections: How many there are after each step.

    References:
        Song et al. 2021, Score-Based Generative Modeling through SDEs, section 4.2, algorithms 2 to 5.
        https://arxiv.org/abs/2011.13456
    """

    order = 1

    def __init__(
        self,
        snr: Annotated[float, Field(gt=0, le=0.5)] = 0.1,
        corrections: Annotated[int, Field(ge=0)] = 1,
    ) -> None:
        self.snr, self.corrections = snr, corrections

    def trajectory(
        self, dynamics: Dynamics, x: Tensor, times: Sequence[float] | Tensor, generator: Generator | None = None
    ) -> Iterator[Tensor]:
        """1 + `corrections` evaluations a step."""
        found = levels_of(dynamics, times)
        yield x
        for now, then in pairwise(found):
            (data,) = dynamics.predict(x, now.t, (Quantity.DATA,))
            kept = then.beta / now.beta
            x = kept * x + (then.alpha - kept * now.alpha) * data
            for _ in range(self.corrections if then.beta else 0):
                x = self._correct(dynamics, x, then, generator)
            yield x

    def _correct(self, dynamics: Dynamics, x: Tensor, at: Level, generator: Generator | None) -> Tensor:
        (data,) = dynamics.predict(x, at.t, (Quantity.DATA,))
        kept = math.sqrt(1 - 4 * self.snr**2)
        return kept * x + (1 - kept) * at.alpha * data + 2 * self.snr * at.beta * randn_like(x, generator)
