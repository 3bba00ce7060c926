"""Networks of the library diffusers, which is not needed for it."""

from typing import Any

import torch
from torch import Tensor, nn

import flowkit as fk

from .chain import DiscreteChain
from .network import Call
from .wrapping import wrap

__all__ = ["from_diffusers"]

PREDICTS = {"epsilon": "noise", "v_prediction": "v", "sample": "data"}


def from_diffusers(network: nn.Module, scheduler: Any, call: Call | None = None) -> fk.Model:
    r"""The model of a network of diffusers and of the scheduler that goes with it.

    Two families are known, and what does not agree with them is refused:

    - discrete chains of N steps (`DDIMScheduler` and its kin): timestep k is t = 1 - (k + 1)/N on the schedule `ddpm`,
      if the rates are linear from 1e-4 to 0.02 in 1000 steps, and else on a `DiscreteChain` of its `alphas_cumprod`,
      such as those of `scaled_linear` and `squaredcos_cap_v2`;
    - flow matching (`FlowMatchEulerDiscreteScheduler` and its kin): the timestep is 1000 sigma, with sigma = 1 - t on
      the schedule `condot`, and the network gives noise - data, minus our velocity. Their `shift` is one of the grid.

    Arguments:
        network: Called as `network(x, timesteps)`, and as `network(x, timesteps, y)` where there is a condition; what
            it returns may have the output as its attribute `sample`.
        scheduler: Says what the network predicts, and on which chain.
        call: How the network is called instead.

    Raises:
        UnsupportedError: Another family, or a chain whose last product is 0: give `wrap` the path.
    """
    call = call or _sample
    config: Any = getattr(scheduler, "config", None)
    if hasattr(scheduler, "alphas_cumprod"):
        predicts = PREDICTS.get(config.prediction_type)
        if predicts is None:
            raise fk.UnsupportedError(f"prediction_type should be one of {', '.join(PREDICTS)}; {_ADVICE}")
        schedule = _schedule(scheduler.alphas_cumprod)
        # The names are those that `wrap` allows.
        return wrap(
            network,
            predicts,  # type: ignore[arg-type]
            fk.create("path", "gaussian", schedule=schedule),
            time="data_at_0",
            time_scale=len(scheduler.alphas_cumprod),
            time_offset=-1,
            whole_times=True,
            call=call,
        )
    if not type(scheduler).__name__.startswith("FlowMatch"):
        raise fk.UnsupportedError(f"{type(scheduler).__name__} is neither of DDPM nor of flow matching; {_ADVICE}")
    scale = config.num_train_timesteps
    return wrap(network, "velocity", "condot", time="data_at_0", time_scale=scale, call=call)


_ADVICE = "use flowkit_foreign.wrap with the path that the network was trained on"


def _schedule(alphas_cumprod: Tensor) -> fk.Schedule:
    """The schedule `ddpm` if the products of the chain are its alpha^2 to the rounding of float32, else one of them."""
    ddpm: fk.Schedule = fk.create("schedule", "ddpm")
    if len(alphas_cumprod) == 1000:
        t = 1 - torch.arange(1, 1001, dtype=torch.float64) / 1000
        if torch.allclose(alphas_cumprod.double().cpu(), ddpm.alpha(t) ** 2, rtol=1e-4, atol=1e-6):
            return ddpm
    return DiscreteChain(alphas_cumprod)


def _sample(network: nn.Module, x: Tensor, time: Tensor, y: fk.Condition) -> Tensor:
    out: Any = network(x, time) if y is None else network(x, time, y)
    return getattr(out, "sample", out)
