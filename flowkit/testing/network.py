"""What every network must do."""

import copy

import torch
from torch import Tensor, nn

from ..shapes import batch_times
from .check import CheckList, NotApplicable, Subject, require, require_close, seeded
from .parts import labels, stirred
from .settings import rebuilt

__all__ = ["CHECKS"]

CHECKS = CheckList()

ROUNDING = 1e-9
"""What float64 may differ by where the same numbers are added in another order, through some layers."""


@CHECKS.add(hint="return (batch, outputs * event[0], *event[1:]), outputs side by side on the first event axis")
def gives_the_shape_of_the_state(subject: Subject) -> None:
    """The output has the shape of x, or a multiple of it along the first event axis."""
    for n in (1, 3):
        x, out = subject.randn(n, 0), _call(_network(subject), subject, n)
        first, *rest = subject.event_shape
        shape = tuple(out.shape)
        fits = len(shape) == x.ndim and shape[0] == n and shape[1] % first == 0 and list(shape[2:]) == rest
        require(
            fits, f"x of shape {tuple(x.shape)} gives {shape}, which is no multiple of x along its first event axis"
        )


@CHECKS.add(hint="times are float32 at least: cast what is made of them to the type of x, `.to(x.dtype)`")
def works_in_every_precision(subject: Subject) -> None:
    """In bfloat16, float32 and float64 the output has the type of x; times are float32 at least."""
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        network, x, t, y = _network(subject, dtype), subject.randn(3, 0, dtype), _times(3, dtype), _labels(subject, 3)
        try:
            out = network(x, t, y)
        except RuntimeError as error:
            raise AssertionError(f"fails in {dtype}: {error}") from error
        require(out.dtype is dtype, f"x of {dtype} gives {out.dtype}")
        require(bool(out.isfinite().all()), f"in {dtype} the output is not finite")


@CHECKS.add(hint="a mean, a norm or a reshape takes in the batch axis: keep axis 0 apart, as in `x.flatten(1)`")
def does_not_mix_the_batch(subject: Subject) -> str | None:
    """What becomes of a sample depends on that sample alone."""
    network, x, t, y = _network(subject), subject.randn(5, 0), _times(5), _labels(subject, 5)
    out, order = network(x, t, y), torch.tensor([3, 0, 4, 2, 1])
    shuffled = network(x[order], t[order], None if y is None else y[order])
    require_close(shuffled, out[order], ROUNDING, "the outputs of a batch in another order")
    others = torch.cat([x[:1], 3 * x[1:] + 1])
    require_close(network(others, t, y)[:1], out[:1], ROUNDING, "an output when the rest of the batch changes")
    network.train()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        first, second = (_with_seed(network, state, t, y)[:1] for state in (x, others))
    if float((first - second).abs().max()) > ROUNDING * (1 + float(first.abs().max())):
        return "in training, an output depends on the rest of the batch, as batch normalisation makes it"
    return None


@CHECKS.add(hint="use t: as features, an embedding or a modulation")
def depends_on_the_time(subject: Subject) -> None:
    """The output changes with t."""
    network, x, y = _network(subject), subject.randn(3, 0), _labels(subject, 3)
    early, late = (network(x, torch.full((3,), t, dtype=x.dtype), y) for t in (0.2, 0.7))
    require(not torch.equal(early, late), "t = 0.2 and t = 0.7 give the same output")


@CHECKS.add(hint="embed y, with one more vector for -1, which means none")
def depends_on_the_label(subject: Subject) -> None:
    """The output changes with y."""
    if subject.num_classes is None:
        raise NotApplicable("it is without labels")
    network, x = _network(subject), subject.randn(1, 0)
    outs = [network(x, _times(1), torch.tensor([label])) for label in range(-1, subject.num_classes)]
    for label, out in enumerate(outs[1:]):
        require(not torch.equal(out, outs[0]), f"label {label} gives the same as no label (-1)")


@CHECKS.add(
    hint="take `y=None`, and treat it as a label of -1 for every sample: guidance and plain sampling ask for that"
)
def works_without_a_condition(subject: Subject) -> None:
    """The condition may be left out, which means a label of -1 everywhere."""
    network, x, t = _network(subject), subject.randn(3, 0), _times(3)
    out = network(x, t)
    require_close(network(x, t, None), out, 0.0, "the output with y = None instead of no y")
    if subject.num_classes is not None:
        without = network(x, t, torch.full((3,), -1))
        require_close(out, without, ROUNDING, "the output without y, against that with y = -1")


@CHECKS.add(hint="remove the parameter, or use it in forward; do not detach what comes before it")
def every_parameter_gets_a_gradient(subject: Subject) -> None:
    """Training moves every parameter."""
    network = _network(subject)
    n = 2 * (subject.num_classes or 1) + 2
    out = network(subject.randn(n, 0), _times(n), _labels(subject, n))
    (out * torch.randn(out.shape, generator=seeded(1), dtype=out.dtype)).sum().backward()
    idle = [
        name
        for name, parameter in network.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.any())
    ]
    require(not idle, f"no gradient reaches {', '.join(idle[:5])}{' and others' if len(idle) > 5 else ''}")


@CHECKS.add(hint="register weights and constants: nn.Parameter, register_buffer, nn.ModuleList instead of a plain list")
def state_dict_holds_everything(subject: Subject) -> None:
    """Another network with the same `state_dict` gives the same."""
    network = _network(subject)
    torch.manual_seed(1)
    try:
        other = rebuilt(subject, _call(network, subject, 1).shape[1] // subject.event_shape[0])
    except (AssertionError, NotApplicable):  # a check of its own says so
        other = copy.deepcopy(network)
    other = stirred(other.double(), seed=1).eval()
    other.load_state_dict(network.state_dict())
    seen, wanted = _call(other, subject, 3), _call(network, subject, 3)
    require_close(seen, wanted, ROUNDING, "the output after load_state_dict into another network")


@CHECKS.add(hint="no .detach(), .numpy(), rounding or torch.no_grad() between x and the output")
def is_differentiable_in_x(subject: Subject) -> str | None:
    """Its derivative along x, from a backward pass, is that of finite differences: likelihoods rest on it."""
    network, x, t, y = _network(subject), subject.randn(3, 0).requires_grad_(), _times(3), _labels(subject, 3)
    out = network(x, t, y)
    require(out.requires_grad, "the output does not depend on x as far as autograd knows")
    along = subject.randn(3, 1)
    probe = torch.randn(out.shape, generator=seeded(2), dtype=out.dtype)
    (slope,) = torch.autograd.grad((out * probe).sum(), x, allow_unused=True)
    require(slope is not None, "the output does not depend on x as far as autograd knows")
    step = 1e-4
    with torch.no_grad():
        ahead, behind = (network(x + sign * step * along, t, y) for sign in (1, -1))
    numeric = ((ahead - behind) * probe).sum() / (2 * step)
    # central differences err by step^2 times the third derivative, and by 1e-16 / step in rounding
    size = 1 + (slope * along).abs().sum()
    require_close((slope * along).sum() / size, numeric / size, 1e-5, "the derivative along x")
    try:
        torch.func.jvp(lambda x: network(x, t, y), (x.detach(),), (along,))
    except Exception as error:
        return f"forward-mode differentiation fails: {type(error).__name__}: {str(error).partition(chr(10))[0]}"
    return None


@CHECKS.add(
    hint="no data-dependent `if`, no .item(), no printing in forward: the graph breaks there, and speed is lost"
)
def compiles_in_one_piece(subject: Subject) -> None:
    """`torch.compile(..., fullgraph=True)` takes it, and the result is the same."""
    network, x, t, y = _network(subject), subject.randn(3, 0), _times(3), _labels(subject, 3)
    if not torch._dynamo.is_dynamo_supported():
        raise NotApplicable("torch.compile does not work with this version of Python")
    torch._dynamo.reset()
    try:
        out = torch.compile(network, fullgraph=True, backend="eager")(x, t, y)
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise AssertionError(f"torch.compile breaks off: {' '.join(lines[:3])}") from error
    require_close(out, network(x, t, y), ROUNDING, "the output of the compiled network")


def _network(subject: Subject, dtype: torch.dtype = torch.float64) -> nn.Module:
    return stirred(copy.deepcopy(subject.component).to(dtype)).eval()


def _times(n: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return batch_times(torch.linspace(0.1, 0.9, n, dtype=torch.float64), torch.empty((), dtype=dtype))


def _labels(subject: Subject, n: int) -> Tensor | None:
    return labels(n, subject.num_classes)


def _call(network: nn.Module, subject: Subject, n: int) -> Tensor:
    out: Tensor = network(subject.randn(n, 0), _times(n), _labels(subject, n))
    return out


def _with_seed(network: nn.Module, x: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
    """In training, with the same dropout every time."""
    torch.manual_seed(0)
    out: Tensor = network(x, t, y)
    return out
