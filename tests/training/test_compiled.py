"""The compiled step against the step as it is."""

import copy
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import flowkit as fk
from flowkit.training.compiled import CompiledStep
from flowkit.training.ema import EMA
from flowkit.training.update import FusedUpdate


@pytest.fixture(autouse=True)
def fresh_compiler() -> None:
    torch._dynamo.reset()


class TinyNetwork(nn.Module, fk.Network):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(3, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor, t: Tensor, y: fk.Condition = None) -> Tensor:
        return self.outer(torch.tanh(self.inner(torch.cat([x, t[:, None]], 1))))


class Peeking(TinyNetwork):
    """Looks at a number, which no compiled function can."""

    def forward(self, x: Tensor, t: Tensor, y: fk.Condition = None) -> Tensor:
        return super().forward(x, t, y) * (1.0 if x.sum().item() > 0 else 0.5)


def pipeline(network: nn.Module | None = None, **training: Any) -> fk.Pipeline:
    settings = {"steps": 8, "batch_size": 16, "checkpoint_every": 4, "seed": 3, "compile": True}
    return (
        fk.Pipeline.builder()
        .data("moons")
        .path("gaussian")
        .network(network or TinyNetwork())
        .head("velocity")
        .loss("cfm")
        .training(**settings | training)
        .build()
    )


def weights(pipeline: fk.Pipeline) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in pipeline.model.parameters()]


ON_GPU = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"))


@pytest.mark.slow
@pytest.mark.parametrize("device", ["cpu", ON_GPU])
def test_compiled_steps_are_the_steps_of_the_same_draws(device: str) -> None:
    torch.manual_seed(0)
    built, randomness = pipeline().to(device), torch.cuda if device == "cuda" else torch
    models = built.model, copy.deepcopy(built.model)
    updates, emas = [], []
    for model in models:
        parameters = list(model.parameters())
        updates.append(FusedUpdate(parameters, clip=0.5, weight_decay=0.1))
        emas.append(EMA(parameters, 0.9))
    compiled = CompiledStep(models[0], built.loss, updates[0], emas[0])
    found, wanted = [], []
    for step in range(1, 6):
        x0, z = torch.randn(16, 2, device=device), torch.randn(16, 2, device=device)
        state = randomness.get_rng_state()
        found.append(compiled(x0, z, None, 1e-2, emas[0].weight(step)))
        randomness.set_rng_state(state)
        expected = built.loss(models[1], x0, z, None, None).mean()
        expected.backward()
        updates[1](1e-2)
        emas[1].update(step)
        wanted.append(expected.detach())
    torch.testing.assert_close(found, wanted)  # at the end, for a graph writes its output to one place
    # Roundings of the gradient pass through Adam's quotient: a few parts in 1e6 of a weight of order 1.
    for mine, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5)
    for mine, other in zip(emas[0].averages, emas[1].averages, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_a_graph_finds_all_that_a_step_writes_to_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise there would be no CUDA graph, or one that writes to copies. The compiler is asked on a CPU."""
    from torch._inductor import compile_fx

    def look(graph: torch.fx.GraphModule, inputs: list[Tensor], **options: Any) -> Any:
        names = [node for node in graph.graph.nodes if node.op == "placeholder"]
        copies = [node.args[0] for node in graph.graph.nodes if node.target is torch.ops.aten.copy_.default]
        written = {names.index(name) for name in copies if name in names}
        seen.append((len(written), written - set(options["static_input_idxs"])))
        return compiler(graph, inputs, **options)

    seen: list[tuple[int, set[int]]] = []
    compiler = compile_fx._compile_fx_inner
    monkeypatch.setattr(compile_fx, "_compile_fx_inner", look)
    monkeypatch.setattr("flowkit.training.compiled.graph_options", lambda device: {"triton.cudagraphs": True})
    built = pipeline()
    parameters = list(built.model.parameters())
    step = CompiledStep(built.model, built.loss, FusedUpdate(parameters, 1.0, 0.0), EMA(parameters, 0.9))
    with torch._functorch.config.patch(enable_autograd_cache=False):  # or the compiler might not be asked
        step(torch.randn(16, 2), torch.randn(16, 2), None, 1e-3, 0.1)
    # A parameter, its average, and what AdamW keeps: two means, and a number of steps.
    assert seen == [(5 * len(parameters), set())]


@pytest.mark.slow
def test_a_compiled_run_resumes_to_the_bit(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = TinyNetwork()
    whole = pipeline(copy.deepcopy(network)).fit(tmp_path / "whole")
    pipeline(copy.deepcopy(network), steps=4, decay="none").fit(tmp_path / "half")
    torch._dynamo.reset()
    other = pipeline(copy.deepcopy(network), steps=8, decay="none").fit(tmp_path / "half", resume=True)
    straight = pipeline(copy.deepcopy(network), steps=8, decay="none").fit(tmp_path / "straight")
    assert not all(torch.equal(a, b) for a, b in zip(weights(whole), weights(straight), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(weights(other), weights(straight), strict=True))


def test_what_cannot_be_compiled_trains_as_it_is_and_says_why(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Peeking()
    with pytest.warns(fk.FlowkitWarning, match="cannot be compiled and runs as it is"):
        found = pipeline(copy.deepcopy(network)).fit(tmp_path / "a")
    with warnings.catch_warnings():
        warnings.simplefilter("error", fk.FlowkitWarning)
        plain = pipeline(copy.deepcopy(network), compile=False).fit(tmp_path / "b")
    assert all(torch.equal(a, b) for a, b in zip(weights(found), weights(plain), strict=True))


def test_without_a_compiler_the_setting_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(fk.ConfigError, match=r"training\.compile: needs a C\+\+ compiler"):
        pipeline().fit(tmp_path / "run")


def test_a_version_of_torch_that_cannot_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", type(torch.__version__)("2.10.1+cpu"))
    with pytest.raises(fk.ConfigError, match=r"training\.compile: needs PyTorch 2\.11 or newer, and this is 2\.10\.1"):
        pipeline().fit(tmp_path / "run")


def test_pieces_are_refused(tmp_path: Path) -> None:
    with pytest.raises(fk.ConfigError, match=r"training\.compile: works with training\.accumulate = 1, and it is 2"):
        pipeline(accumulate=2).fit(tmp_path / "run")


@pytest.mark.slow
def test_a_compiled_step_takes_the_precision_of_the_training(tmp_path: Path) -> None:
    class First(fk.Callback):
        def logged(self, state: fk.TrainingState) -> None:
            losses.append(state.losses[0])

    torch.manual_seed(0)
    network, losses = TinyNetwork(), []
    for precision in ("no", "bf16"):
        torch._dynamo.reset()
        built = pipeline(copy.deepcopy(network), mixed_precision=precision, steps=1)
        built.fit(tmp_path / precision, callbacks=[First()])
    # The same draws. An output has passed two layers, whose inputs, weights and sums have 8 bits each.
    assert 0 < abs(losses[1] - losses[0]) < 2 * 3 * 2**-8 * losses[0]
