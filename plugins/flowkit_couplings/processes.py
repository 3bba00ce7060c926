"""One plan for the shares of a batch that several processes hold."""

import torch
import torch.distributed as dist
from torch import Tensor

from .assignment import assign
from .cost import squared_distances

__all__ = ["are_several", "assign_across"]


def are_several() -> bool:
    """Whether this process is one of several that can talk to one another."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def assign_across(x0: Tensor, z: Tensor) -> Tensor:
    """The x0 that the optimal plan of all processes gives to the z of this one, shape (n, *event).

    The first process finds the plan, so that all of them hold to the same one. Every process must call this, with as
    many points as the others.
    """
    everyones_x0, everyones_z = _gather(x0), _gather(z)
    index = torch.empty(len(everyones_z), dtype=torch.int64, device=z.device)
    if dist.get_rank() == 0:
        index = assign(squared_distances(everyones_z, everyones_x0))
    dist.broadcast(index, 0)
    return everyones_x0[index[dist.get_rank() * len(z) :][: len(z)]]


def _gather(x: Tensor) -> Tensor:
    """The tensors of all processes, one after the other."""
    parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, x.contiguous())
    return torch.cat(parts)
