"""Networks of the library diffusers, which is not needed for it."""

from typing import Any

import torch
from torch import Tensor, nn

import flowkit as fk

from .network import Call
from .wrapping import wrap

__all__ = ["from_diffusers"]

PREDICTS = {"epsilon": "noise", "v_prediction": "v", "sample": "data"}


def from_diffusers(network: nn.Module, scheduler: Any, call: Call | None = None) -> fk.Model:
    r"""The model of a network of diffusers and of the scheduler that goes with it.

    Two families are known, and what does not agree with them is refused:

    - discrete chains of DDPM (`DDIMScheduler` and its kin) with linear rates from 1e-4 to 0.02 in 1000 steps:
      timestep k is t = 1 - (k + 1)/1000 on the schedule `ddpm`;
    - flow matching (`FlowMatchEulerDiscreteScheduler` and its kin): the timestep is 1000 sigma, with sigma = 1 - t on
      the schedule `condot`, and the network gives noise - data, minus our velocity. Their `shift` is one of the grid.

    Arguments:
        network: Called as `network(x, timesteps)`, and as `network(x, timesteps, y)` where there is a condition; what
            it returns may have the output as its attribute `sample`.
        scheduler: Says what the network predicts, and on which chain.
        call: How the network is called instead.

    Raises:
        UnsupportedError: Another chain: give `wrap` the path.
    """
    call = call or _sample
    config: Any = getattr(scheduler, "config", None)
    if hasattr(scheduler, "alphas_cumprod"):
        predicts, path = PREDICTS.get(config.prediction_type), fk.create("path", "gaussian", schedule="ddpm")
        if predicts is None:
            raise fk.UnsupportedError(f"prediction_type should be one of {', '.join(PREDICTS)}; {_ADVICE}")
        if not _is_ddpm(scheduler.alphas_cumprod, path.schedule):
            raise fk.UnsupportedError(f"this scheduler's alphas_cumprod are not those of DDPM; {_ADVICE}")
        # The names are those that `wrap` allows.
        return wrap(
            network,
            predicts,  # type: ignore[arg-type]
            path,
            time="data_at_0",
            time_scale=1000,
            time_offset=-1,
            whole_times=True,
            call=call,
        )
    if not type(scheduler).__name__.startswith("FlowMatch"):
        raise fk.UnsupportedError(f"{type(scheduler).__name__} is neither of DDPM nor of flow matching; {_ADVICE}")
    scale = config.num_train_timesteps
    return wrap(network, "velocity", "condot", time="data_at_0", time_scale=scale, call=call)


_ADVICE = "use flowkit_foreign.wrap with the path that the network was trained on"


def _is_ddpm(alphas_cumprod: Tensor, schedule: fk.Schedule) -> bool:
    """Whether the products of the chain are alpha^2, to the rounding of float32."""
    if len(alphas_cumprod) != 1000:
        return False
    t = 1 - torch.arange(1, 1001, dtype=torch.float64) / 1000
    return torch.allclose(alphas_cumprod.double().cpu(), schedule.alpha(t) ** 2, rtol=1e-4, atol=1e-6)


def _sample(network: nn.Module, x: Tensor, time: Tensor, y: fk.Condition) -> Tensor:
    out: Any = network(x, time) if y is None else network(x, time, y)
    return getattr(out, "sample", out)
