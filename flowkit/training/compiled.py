"""A training step as one compiled function."""

from itertools import chain

import torch
from torch import Tensor

from ..compiler import NO_COMPILER, cxx_compiler, graph_options
from ..conditions import Condition
from ..errors import UnsupportedError
from ..interfaces.loss import Loss
from ..model import Model
from .ema import EMA
from .update import FusedUpdate, Update

__all__ = ["CompiledStep", "compiling_refused"]


def compiling_refused(update: Update, world: int, pieces: int) -> str:
    """Why no step can be compiled here; empty if one can.

    Arguments:
        update: What a step does to the weights.
        world: How many processes there are.
        pieces: In how many pieces a process takes its share of a batch.
    """
    if world > 1:
        return f"works in one process, and there are {world}"
    if pieces > 1:
        return f"works with training.accumulate = 1, and it is {pieces}"
    if not isinstance(update, FusedUpdate):
        return "works on a CPU or a CUDA device, without fp16"
    if torch.__version__ < "2.11":  # Dynamo took no gradient inside a compiled function before
        return f"needs PyTorch 2.11 or newer, and this is {torch.__version__}"
    return "" if cxx_compiler() else NO_COMPILER


class CompiledStep:
    r"""Loss, gradient, clipping, AdamW and the average of the weights, by `torch.compile` as one function.

    A small network spends most of a step between operations, in Python and in autograd's bookkeeping; of one function
    that is paid once, and elementwise operations in a row become one loop. A CUDA device is given all of it as one
    graph, but for losses that keep something from step to step (`Loss.state`), which the next step would overwrite.

    With m, v, the decays b1, b2, the rate r and the weight decay w, step k is what AdamW does,

    $$m \leftarrow b_1 m + (1 - b_1) g, \quad v \leftarrow b_2 v + (1 - b_2) g^2, \quad
    \theta \leftarrow (1 - r w)\,\theta - \frac{r}{1 - b_1^k}\, \frac{m}{\sqrt{v / (1 - b_2^k)} + \epsilon}.$$

    The loss draws from PyTorch's own generator, for a compiled function can be given no other; the trainer seeds and
    saves that one too.

    Arguments:
        model: What is trained.
        loss: What it regresses.
        update: The weights, with the settings and the state of AdamW.
        ema: The averages.

    References:
        Loshchilov and Hutter 2019, Decoupled Weight Decay Regularization, algorithm 2. https://arxiv.org/abs/1711.05101
    """

    def __init__(self, model: Model, loss: Loss, update: FusedUpdate, ema: EMA) -> None:
        self._model, self._loss, self._calls = model, loss, 0
        self._update, self._averages = update, ema.averages
        device = model.data_mean.device
        # Numbers that change are tensors: a function is compiled anew for other numbers.
        self._rate, self._weight = (torch.zeros((), dtype=torch.float64, device=device) for _ in range(2))
        self._graphs = {} if loss.state() else graph_options(device)
        options = {"fallback_random": True, **self._graphs}
        if device.type == "cuda":  # https://github.com/pytorch/pytorch/issues/176591
            options["loop_ordering_after_fusion"] = False
        compiled = torch.compile(self._step, fullgraph=True, dynamic=False, options=options)
        from torch._dynamo import config, mark_static_address  # which compiling imports, and nothing before

        if self._graphs:  # which take these where they are; all else is copied to where it was when they were made
            for tensor in (self._rate, self._weight, *ema.averages, *chain(*update.rows())):
                mark_static_address(tensor)
        self._compiled = config.patch(trace_autograd_ops=True)(compiled)  # so that the gradient is part of the function

    @property
    def has_run(self) -> bool:
        """Whether it has taken steps, and so can be compiled. A graph is made in the second one."""
        return self._calls > len(self._graphs)

    def __call__(self, x0: Tensor, z: Tensor, y: Condition, rate: float, weight: float) -> Tensor:
        """Take a step; returns the mean loss.

        Arguments:
            x0: Draws of p_init.
            z: Data points.
            y: Conditions.
            rate: The learning rate.
            weight: How much the averages move towards the weights.
        """
        self._rate.fill_(rate)
        self._weight.fill_(weight)
        _, means, squares, steps = self._update.rows()
        if not self._calls and len(torch.stack(steps).unique()) > 1:  # one number corrects the bias of all
            raise UnsupportedError("eager steps have left weights without a gradient, and AdamW counts fewer for these")
        if self._graphs:
            torch.compiler.cudagraph_mark_step_begin()
        loss: Tensor = self._compiled(x0, z, y, means, squares, steps)
        self._calls += 1
        return loss.clone() if self._graphs else loss

    def _step(
        self, x0: Tensor, z: Tensor, y: Condition, means: list[Tensor], squares: list[Tensor], steps: list[Tensor]
    ) -> Tensor:
        parameters = list(self._update.parameters)
        loss = self._loss(self._model, x0, z, y, None).mean()
        gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
        with torch.no_grad():
            self._adamw(list(gradients), parameters, means, squares, steps)
        return loss.detach()

    def _adamw(
        self,
        gradients: list[Tensor],
        parameters: list[Tensor],
        means: list[Tensor],
        squares: list[Tensor],
        steps: list[Tensor],
    ) -> None:
        (beta1, beta2), eps = self._update.betas, self._update.eps
        clip, decay = self._update.clip, self._update.weight_decay
        if clip is not None:
            norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients]))
            gradients = list(torch._foreach_div(gradients, (norm / clip).clamp(min=1.0)))
        torch._foreach_add_(steps, 1)
        k = steps[0].double()
        torch._foreach_lerp_(means, gradients, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)
        spread = torch._foreach_sqrt(squares)
        torch._foreach_div_(spread, (1 - beta2**k).sqrt())
        torch._foreach_add_(spread, eps)
        move = torch._foreach_div(means, spread)
        torch._foreach_mul_(move, self._rate / (1 - beta1**k))
        if decay:
            torch._foreach_mul_(parameters, 1 - self._rate * decay)
        torch._foreach_sub_(parameters, move)
        gap = torch._foreach_sub(parameters, self._averages)
        torch._foreach_mul_(gap, self._weight)
        torch._foreach_add_(self._averages, gap)
