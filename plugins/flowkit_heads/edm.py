"""The preconditioned denoiser of EDM."""

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from flowkit import Condition, Head, Path, Quantity, UnsupportedError, expand_time

__all__ = ["EDMHead"]


class EDMHead(Head):
    r"""$D(x) = c_{skip}\,x + c_{out}\,F(c_{in}\,x,\, c_{noise})$, with scales that give what the network F sees and
    what it is to return the variance 1 at every noise level.

    The paper's scales are for data plus noise, x / alpha_t with $\sigma = \beta_t/\alpha_t$. For x_t itself, whose
    variance is $v = \alpha_t^2 \sigma_{data}^2 + \beta_t^2$,

    $$c_{skip} = \frac{\alpha_t \sigma_{data}^2}{v}, \qquad c_{out} = \frac{\beta_t \sigma_{data}}{\sqrt v}, \qquad
    c_{in} = \frac{1}{\sqrt v}, \qquad c_{noise} = \frac{\alpha_t}{\alpha_t + \beta_t} = \frac{1}{1 + \sigma},$$

    all finite from noise to data. The paper gives the network $\frac14 \ln\sigma$; 1/(1 + sigma) says the same, but
    stays in [0, 1], where networks expect a time. It is the time of the straight path with that noise level.

    Arguments:
        sigma_data: The standard deviation of the data, as the model sees them: about 0.5 for images in [-1, 1], 1 for
            standardised points.

    References:
        Karras et al. 2022, Elucidating the Design Space of Diffusion-Based Generative Models, equation 7 and table 1.
        https://arxiv.org/abs/2206.00364
    """

    quantities = (Quantity.DATA,)

    def __init__(self, sigma_data: Annotated[float, Field(gt=0)] = 0.5) -> None:
        self.sigma_data = sigma_data

    def predict(
        self, network: nn.Module, x: Tensor, t: Tensor, y: Condition = None, path: Path | None = None
    ) -> dict[Quantity, Tensor]:
        """The denoised x, shape (batch, *event)."""
        if path is None or path.schedule is None:
            raise UnsupportedError("the head 'edm' scales by the schedule of the path: pass path=...")
        alpha, beta = path.schedule.alpha(t), path.schedule.beta(t)
        variance = (alpha * self.sigma_data).square() + beta.square()
        c_in = variance.rsqrt()
        c_skip, c_out = alpha * self.sigma_data**2 / variance, beta * self.sigma_data * c_in
        output = network(expand_time(c_in, x) * x, alpha / (alpha + beta), y)
        return {Quantity.DATA: expand_time(c_skip, x) * x + expand_time(c_out, x) * output}

    def problems(self, path: Path) -> list[str]:
        """The path must have a schedule."""
        if path.schedule is not None:
            return []
        return [f"head 'edm' needs a path with a schedule; {type(path).__name__} has none: use the head 'data'"]
