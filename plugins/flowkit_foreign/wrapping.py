"""A network that was trained elsewhere becomes a model."""

from typing import Literal

from torch import Tensor, nn

import flowkit as fk

from .network import Call, ForeignNetwork

__all__ = ["wrap"]

PREDICTS = ("velocity", "score", "noise", "data", "v")


def wrap(
    network: nn.Module,
    predicts: Literal["velocity", "score", "noise", "data", "v"],
    path: fk.Path | str = "condot",
    *,
    time: Literal["data_at_0", "data_at_1"] = "data_at_1",
    time_scale: float = 1.0,
    time_offset: float = 0.0,
    whole_times: bool = False,
    no_label: int | None = None,
    call: Call | None = None,
    data_mean: Tensor | float = 0.0,
) -> fk.Model:
    r"""The model of a network that has learned a field of a path.

    Its direction of time decides the sign of a velocity, and of nothing else: along $s = 1 - t$ it is
    $dx/ds = -u_t$. The v is $\alpha E[x_0|x] - \beta E[z|x]$, as diffusers has it.

    Arguments:
        network: The network; it stays as it is, and the model shares its weights.
        predicts: What it gives.
        path: What it was trained on, in flowkit's time; the name of a schedule is a Gaussian path.
        time: Where its data are.
        time_scale: Its times to one of ours, such as 1000.
        time_offset: What is added: a discrete chain that counts from 0 has -1.
        whole_times: Round times to whole numbers, int64.
        no_label: The label that the network has for "none": it gets it where y = -1, and where y is None.
        call: How it is called, `call(network, x, time, y)`; by default `network(x, time)`, and
            `network(x, time, y)` where there is a condition.
        data_mean: E[z], which a network of noise or score cannot know at t = 0.

    Raises:
        ConfigError: There is no such prediction, direction of time, or schedule.

    Examples:
        >>> model = wrap(network, "velocity", call=lambda network, x, t, y: network(t, x))
    """
    if predicts not in PREDICTS:
        raise fk.ConfigError(f"predicts should be one of {', '.join(PREDICTS)}; got {predicts!r}")
    if time not in ("data_at_0", "data_at_1"):
        raise fk.ConfigError(f"time should be 'data_at_0' or 'data_at_1'; got {time!r}")
    reversed_velocity = time == "data_at_0" and predicts == "velocity"
    foreign = ForeignNetwork(
        network,
        call or _call,
        data_at_0=time == "data_at_0",
        scale=time_scale,
        offset=time_offset,
        whole=whole_times,
        sign=-1.0 if reversed_velocity else 1.0,
        no_label=no_label,
    )
    path = fk.create("path", "gaussian", schedule=path) if isinstance(path, str) else path
    return fk.Model(foreign, fk.create("head", predicts), path, data_mean)


def _call(network: nn.Module, x: Tensor, time: Tensor, y: fk.Condition) -> Tensor:
    out: Tensor = network(x, time) if y is None else network(x, time, y)
    return out
