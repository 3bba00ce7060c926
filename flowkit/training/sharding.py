"""A network cut over the processes (FSDP): what DDP keeps on each of them is kept once by all of them together."""

import copy
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import convert_outputs_to_fp32
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from ..errors import ConfigError, UnsupportedError
from ..model import Model
from .parts import own_rows, write_parts
from .update import FusedUpdate

__all__ = ["ShardedUpdate", "Sharding"]

_LARGE = 0.01
"""What a block must hold of all weights to be cut by itself: a message for less costs more than the memory it saves."""
_LISTS = (nn.ModuleList, nn.ModuleDict)


class Sharding:
    """Cuts the network of a model along the first axis of every parameter: each process keeps one part of each.

    Parts come together where the network needs them, block by block, and gradients are averaged into parts. All that
    is done to weights elsewhere (AdamW, averages) is done to the part of this process, a plain tensor.

    What is cut is a copy. The network itself is empty meanwhile; `join` fills it again. Single numbers, and parameters
    outside the network, stay whole on every process.

    Arguments:
        model: Its network is cut; every process must hold the same one.
        accelerator: Knows the processes.

    Raises:
        ConfigError: This network or this device does not allow it.

    References:
        Zhao et al. 2023, PyTorch FSDP: Experiences on Scaling Fully Sharded Data Parallel. https://arxiv.org/abs/2304.11277
    """

    def __init__(self, model: Model, accelerator: Accelerator) -> None:
        self.model, self._accelerator, self.is_main = model, accelerator, accelerator.is_main_process
        if accelerator.device.type not in ("cpu", "cuda"):
            raise ConfigError(f"training.shard: works on CPUs and CUDA devices, not on {accelerator.device.type}")
        self._network, self._in_step = model.network, False
        mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
        self._cut = _cut(self._network, mesh)
        self._cut.register_forward_pre_hook(self._refuse_outside_steps, prepend=True)
        if accelerator.mixed_precision == "bf16":
            autocast = torch.autocast(accelerator.device.type, torch.bfloat16)
            self._cut.forward = convert_outputs_to_fp32(autocast(self._cut.forward))
        self._leave()
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self._values: dict[str, Tensor] = model.state_dict(keep_vars=True)

    @property
    def parts(self) -> list[Tensor]:
        """What this process keeps of the parameters in training; what is written to them is written to the network."""
        return [_part(parameter) for parameter in self.parameters]

    @property
    def replicated(self) -> list[Tensor]:
        """The parameters in training that are not cut, whose gradients every process has for its share alone."""
        return [parameter for parameter in self.parameters if not isinstance(parameter, DTensor)]

    @contextmanager
    def step(self) -> Iterator[None]:
        """Here all processes call the network together."""
        self._in_step = True
        try:
            yield
        finally:
            self._in_step = False

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Here the model of the first process has a network that it can use alone. Every process must come here."""
        self._join(keep=self.is_main)
        try:
            yield
        finally:
            self._leave()

    def join(self) -> None:
        """Give the model of every process its own network back, with the weights of now. Every process must call it."""
        self._join(keep=True)

    def update(self, clip: float | None, weight_decay: float) -> "ShardedUpdate":
        """What takes a step with the parts."""
        return ShardedUpdate(self, clip, weight_decay)

    def whole_of(self, like: Tensor, part: Tensor) -> Tensor:
        """A tensor that is cut like a parameter, from the part of this process, as `DTensor`.

        Where nothing is cut (also single numbers, such as AdamW's count of steps), it is the part.

        Arguments:
            like: The parameter.
            part: What this process keeps.
        """
        return _whole(like, part) if isinstance(like, DTensor) and part.ndim else part

    def whole_weights(self, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What `model.load_state_dict` takes, from the parts of this process."""
        return {name: self.whole_of(self._values.get(name, part), part) for name, part in parts.items()}

    def rows(self, name: str, count: int) -> slice:
        """The rows that this process keeps of a parameter, or of what is kept for one.

        Arguments:
            name: That of the parameter, or `parameter/entry`.
            count: How many rows there are.

        Raises:
            ValueError: The parameter has another number of rows.
        """
        like = self._values.get(name, self._values.get(name.rpartition("/")[0]))
        if not isinstance(like, DTensor):
            return slice(None)
        if len(like) != count:
            raise ValueError(f"{name} has {count} rows, not {len(like)}")
        return own_rows(count, like.device_mesh.get_local_rank(), like.device_mesh.size())

    def write(self, folder: Path, files: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Mapping[str, Tensor]]:
        """Write the files that hold parts; the others are given back. Every process must call it.

        Arguments:
            folder: Where to.
            files: File name (without suffix) to what it holds.
        """
        cut = {name for name, content in files.items() if any(isinstance(v, DTensor) for v in content.values())}
        write_parts(folder, {name: files[name] for name in files if name in cut}, self._accelerator)
        return {name: content for name, content in files.items() if name not in cut}

    @torch.no_grad()
    def _join(self, keep: bool) -> None:
        cut = dict(self._cut.named_parameters())
        for name, parameter in self._network.named_parameters():
            whole = _joined(cut[name], _part(cut[name]))
            if keep:
                parameter.data = whole
        buffers = dict(self._cut.named_buffers())
        for name, buffer in self._network.named_buffers():
            buffer.data = buffers[name].detach().clone()
        self._network.train(self._cut.training)
        self.model.network = self._network

    def _leave(self) -> None:
        """The parts are what the model has, and the whole is let go."""
        self.model.network = self._cut
        for parameter in self._network.parameters():
            parameter.data = parameter.data.new_empty(0)

    def _refuse_outside_steps(self, *_: Any) -> None:
        if not self._in_step:
            raise UnsupportedError(
                "the network is cut over the processes (training.shard), and one cannot use it alone: callbacks can in "
                "training_started, logged, checkpoint_saved and training_ended"
            )


class ShardedUpdate(FusedUpdate):
    """`FusedUpdate` of the parts that a process keeps, clipped by the norm over all processes.

    Arguments:
        sharding: Keeps the parts.
        clip: The largest norm of the gradient, or None.
        weight_decay: Decoupled, as in AdamW.
    """

    def __init__(self, sharding: Sharding, clip: float | None, weight_decay: float) -> None:
        super().__init__(sharding.parts, clip, weight_decay)
        self._sharding, self._whole = sharding, set(sharding.replicated)

    def prepare(self, accelerator: Accelerator, network: nn.Module) -> nn.Module:
        """The network as it is: it has been cut."""
        return network

    def __call__(self, rate: float) -> None:
        """Take a step."""
        for parameter, part in zip(self._sharding.parameters, self.parameters, strict=True):
            if isinstance(parameter.grad, DTensor):
                part.grad, parameter.grad = parameter.grad.to_local(), None
        super().__call__(rate)

    def _norm(self, parameters: list[Tensor], gradients: list[Tensor]) -> Tensor:
        """The norm of the whole gradient: what every process has is counted by the first alone."""
        squares = torch.stack(torch._foreach_norm(gradients)).square()
        if self._whole and not self._sharding.is_main:
            squares = squares * squares.new_tensor([parameter not in self._whole for parameter in parameters])
        total = squares.sum()
        dist.all_reduce(total)
        return total.sqrt()


def _cut(network: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """A copy of a network, cut over the processes."""
    dtypes = sorted({str(parameter.dtype) for parameter in network.parameters()})
    if len(dtypes) > 1:
        raise ConfigError(
            f"training.shard: the parameters of the network must be of one dtype, not {', '.join(dtypes)}"
        )
    cut = copy.deepcopy(network)
    numbers = {parameter for parameter in cut.parameters() if parameter.ndim == 0}
    for module in (*_blocks(cut, _LARGE * _size(cut), _shared(cut)), cut):
        module.register_forward_hook(_own_memory)
        fully_shard(module, mesh=mesh, ignored_params=numbers)
    return cut


def _own_memory(_: nn.Module, __: Any, output: Any) -> Any:
    """Outputs in memory of their own: FSDP would lose the gradient of a view that is then changed in place."""
    return output.clone() if isinstance(output, Tensor) and output._is_view() else output


def _blocks(module: nn.Module, least: float, shared: set[Tensor]) -> Iterator[nn.Module]:
    """What is cut, and comes together, by itself: the large members of lists and sequences, such as residual blocks."""
    for child in module.children():
        is_member = isinstance(module, (*_LISTS, nn.Sequential)) and not isinstance(child, _LISTS)
        if is_member and _size(child) >= least and shared.isdisjoint(child.parameters()):
            yield child
        else:
            yield from _blocks(child, least, shared)


def _shared(network: nn.Module) -> set[Tensor]:
    """The parameters that several modules use, which must come together for all of them."""
    uses = Counter(p for module in network.modules() for p in module.parameters(recurse=False))
    return {parameter for parameter, count in uses.items() if count > 1}


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _part(parameter: Tensor) -> Tensor:
    if not isinstance(parameter, DTensor):
        return parameter
    with torch.no_grad():
        part: Tensor = parameter.to_local()
    return part


def _joined(like: Tensor, part: Tensor) -> Tensor:
    return _whole(like, part).full_tensor() if isinstance(like, DTensor) else part.detach().clone()


def _whole(like: DTensor, part: Tensor) -> DTensor:
    mesh, placements = like.device_mesh, like.placements
    return DTensor.from_local(
        part.to(like.device), mesh, placements, run_check=False, shape=like.shape, stride=like.stride()
    )
