"""Sampling with a compiled network: the samples are the same, and nobody's model changes.

Most tests have Dynamo trace the network and skip the C++ compiler, which takes seconds.
"""

import pickle
import subprocess
import sys
import warnings
from contextlib import contextmanager
from functools import partial
from itertools import pairwise

import pytest
import torch
from command import flowkit
from torch import nn
from torch._dynamo.utils import counters

import flowkit as fk

WIDTH, DEPTH, STEPS = 16, 2, 4
ROUNDING = (DEPTH + 1) * WIDTH * STEPS * 2**-24
"""Sums of up to WIDTH products of order 1, one in each layer and at each step, added up in another order."""

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

close = partial(torch.testing.assert_close, rtol=ROUNDING, atol=ROUNDING)


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    counters.clear()


@pytest.fixture
def traced(monkeypatch):
    """`torch.compile` without the compiler."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))


def graphs():
    """How often something was compiled."""
    return counters["stats"]["unique_graphs"]


@contextmanager
def no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


class Line(nn.Module):
    """A small network that can be told to fail."""

    def __init__(self):
        super().__init__()
        self.weight, self.most, self.compiles, self.calls = nn.Parameter(torch.tensor(0.5)), 10**9, True, 0

    def forward(self, x, t, y=None):
        if torch.compiler.is_compiling():
            if not self.compiles:
                raise ValueError("too\ncrooked")
        else:
            self.calls += 1
        if len(x) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return self.weight * x - t[:, None]


@pytest.mark.slow
def test_a_compiled_network_draws_the_same_samples_and_is_compiled_once(tiny):
    check_samples(tiny)


@pytest.mark.usefixtures("traced")
def test_a_traced_network_draws_the_same_samples_and_is_traced_once(tiny):
    check_samples(tiny)


def check_samples(tiny):
    pipeline = tiny.sampling(batch_size=256).build()
    before, eager = pickle.dumps(pipeline.model.state_dict()), pipeline.sample(600, seed=3)
    assert graphs() == 0
    close(pipeline.sample(600, seed=3, compile=True), eager)
    assert graphs() == 2  # batches of 256, and of any size for the last one, of 88
    close(pipeline.sample(600, seed=3, compile=True), eager)
    close(pipeline.sample(200, seed=3, compile=True), eager[:200])
    close(pipeline.trajectory(600, seed=3, compile=True)[-1], eager)
    assert graphs() == 2
    assert pickle.dumps(pipeline.model.state_dict()) == before
    assert type(pipeline.model) is fk.Model
    assert not isinstance(pipeline.model.network, torch._dynamo.eval_frame.OptimizedModule)


@pytest.mark.slow
@pytest.mark.skipif(DEVICE == "cuda", reason="a CUDA device is given a graph")
def test_batches_like_the_first_are_called_without_dynamo(tiny):
    pipeline = tiny.network(network := Line()).build()
    pipeline.sample(64, compile=True)
    network.calls = 0
    with torch.compiler.set_stance("force_eager"):  # Dynamo would call the network as it is
        pipeline.sample(64, compile=True)
        assert network.calls == 0
        pipeline.sample(65, compile=True)
        assert network.calls == STEPS


@pytest.mark.usefixtures("traced")
def test_a_network_that_cannot_be_compiled_ahead_goes_the_usual_way(tiny, monkeypatch):
    def refusing(*_, **__):
        raise RuntimeError("no")

    monkeypatch.setattr("torch._dynamo.aot_compile.aot_compile_fullgraph", refusing)
    check_samples(tiny)


@pytest.mark.usefixtures("traced")
def test_a_network_whose_outputs_are_copied_draws_the_same_samples(tiny, monkeypatch):
    monkeypatch.setattr("flowkit.pipeline.compiled.graph_options", lambda device: {"triton.cudagraphs": True})
    check_samples(tiny)


@pytest.mark.skipif(DEVICE == "cpu", reason="no CUDA device")
def test_outputs_that_an_integrator_keeps_outlast_further_calls_of_a_graph(tiny):
    pipeline = tiny.sampling("adams_bashforth", steps=8).build().to(DEVICE)
    eager, errors = pipeline.sample(256), (8 / STEPS) * ROUNDING * (55 + 59 + 37 + 9) / 24  # its weights of the slopes
    for _ in range(3):  # it is called, recorded, and played
        torch.testing.assert_close(pipeline.sample(256, compile=True), eager, rtol=errors, atol=errors)


@pytest.mark.usefixtures("traced")
def test_every_way_to_draw_uses_it_and_densities_do_not(tiny, tmp_path):
    pipeline = tiny.sampling(compile=True).build()
    assert pipeline.config["sampling"]["compile"] is True
    pipeline.evaluate()
    assert graphs() == 1
    pipeline.sample_to(tmp_path / "x.npy", 64)
    assert graphs() == 1
    pipeline.log_prob(torch.zeros(3, 2))
    assert graphs() == 1
    pipeline.sample(65)
    assert graphs() == 2


@pytest.mark.usefixtures("traced")
def test_the_guided_model_is_compiled_too(tiny):
    builder = tiny.data("moons", labels=True).training(condition_dropout=0.1)
    pipeline = builder.sampling("euler_maruyama", guidance="classifier_free").build()
    eager = pipeline.sample(100)
    # Guidance takes 3 times one output less 2 times the other, and so up to 5 times their rounding.
    torch.testing.assert_close(pipeline.sample(100, compile=True), eager, rtol=5 * ROUNDING, atol=5 * ROUNDING)
    assert graphs() == 1


@pytest.mark.usefixtures("traced")
def test_weights_that_are_trained_or_loaded_later_are_seen(tiny, tmp_path):
    class Watch(fk.Callback):
        def logged(self, state):
            drawn.append(pipeline.sample(64, compile=True))
            close(drawn[-1], pipeline.sample(64))
            assert pipeline.model.training

    pipeline, drawn = tiny.build().to(DEVICE), []
    drawn.append(pipeline.sample(64, compile=True))
    pipeline.fit(tmp_path / "run", callbacks=[Watch()])
    assert all(not torch.equal(a, b) for a, b in pairwise(drawn))
    again = tiny.build().to(DEVICE)
    first = again.sample(64, compile=True)
    again.model.load_state_dict(pipeline.model.state_dict())
    assert not torch.equal(first, again.sample(64, compile=True))
    close(again.sample(64, compile=True), pipeline.sample(64))
    assert graphs() == 2


@pytest.mark.usefixtures("traced")
def test_dropout_is_off_and_another_network_is_compiled_anew(tiny):
    pipeline = tiny.build()
    pipeline.model.network.layers.append(nn.Dropout(0.5))
    pipeline.model.train()
    for factor in (1, 2):
        close(pipeline.sample(64, compile=True), pipeline.sample(64))
        pipeline.model.network = tiny.network("mlp", width=WIDTH * factor, depth=DEPTH).build().model.network


@pytest.mark.usefixtures("traced")
def test_what_cannot_be_compiled_is_called_as_it_is_and_that_is_said_once(tiny):
    pipeline, cost = tiny.network(network := Line()).build(), fk.Cost()
    eager, network.compiles, network.calls = pipeline.sample(64), False, 0
    with pytest.warns(fk.FlowkitWarning) as told:
        found = pipeline.sample(64, compile=True, cost=cost)
    (text,) = (str(warning.message) for warning in told)
    with no_warning():
        assert torch.equal(pipeline.sample(64, compile=True), eager)
    assert torch.equal(found, eager)
    assert text.startswith("sampling.compile: this network cannot be compiled and is called as it is: ")
    assert "\n" not in text
    assert cost.evaluations == STEPS
    assert network.calls == 2 * STEPS


def test_without_a_compiler_the_network_is_called_as_it_is(tiny, monkeypatch, tmp_path):
    pipeline = tiny.build()
    eager = pipeline.sample(64)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.warns(fk.FlowkitWarning, match=r"^sampling\.compile: needs a C\+\+ compiler.*as it is$"):
        found = pipeline.sample(64, compile=True)
    with no_warning():
        assert torch.equal(pipeline.sample(64, compile=True), eager)
    assert torch.equal(found, eager)


def test_a_version_of_python_that_is_not_supported_is_said(tiny, monkeypatch):
    def refusing(*_, **__):
        raise RuntimeError("torch.compile is not supported on Python 3.15+")

    monkeypatch.setattr(torch, "compile", refusing)
    pipeline = tiny.build()
    with pytest.warns(fk.FlowkitWarning, match=r"sampling\.compile: this network .* not supported on Python 3\.15"):
        assert torch.equal(pipeline.sample(64, compile=True), pipeline.sample(64))


@pytest.mark.usefixtures("traced")
def test_a_full_memory_halves_the_batch_and_the_network_stays_compiled(tiny):
    pipeline = tiny.network(network := Line()).sampling(batch_size=512).build()
    eager, network.most = pipeline.sample(512), 256
    with pytest.warns(fk.FlowkitWarning) as told:
        close(pipeline.sample(512, compile=True), eager)
    assert [str(warning.message)[:33] for warning in told] == ["512 samples at once do not fit in"]
    network.calls = 0
    pipeline.sample(256, compile=True)
    assert network.calls == 0


@pytest.mark.usefixtures("traced")
def test_an_error_of_the_network_itself_comes_up(tiny):
    pipeline = tiny.network(network := Line()).build()
    network.weight = None
    with no_warning(), pytest.raises(TypeError, match="NoneType"):
        pipeline.sample(4, compile=True)


def test_the_compiler_is_imported_only_if_it_is_wanted(tmp_path):
    """Nor what many processes need: either takes longer than the first steps of a small network."""
    code = (
        "import sys, flowkit as fk\n"
        "builder = fk.Pipeline.builder().data('moons').network('mlp', width=8).training(steps=2, batch_size=8)\n"
        "pipeline = builder.sampling('euler', steps=1).build().fit('run')\n"
        "pipeline.sample(4)\n"
        "print({'torch._dynamo', 'torch.distributed.tensor'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=120, capture_output=True)
    assert done.stdout == b"set()\n"


@pytest.mark.usefixtures("traced")
def test_the_command_takes_the_setting_and_refuses_what_is_neither_true_nor_false(tiny, tmp_path):
    tiny.build().fit(tmp_path / "runs/moons")
    flowkit("sample", "runs/moons", "-n", "64", "sampling.compile=true", cwd=tmp_path)
    assert graphs() == 1
    output = flowkit("sample", "runs/moons", "sampling.compile=maybe", cwd=tmp_path, code=2)
    assert "sampling.compile: should be true or false" in output
    assert "got 'maybe'" in output


@pytest.mark.usefixtures("traced")
def test_the_profile_tells_the_compiled_model_from_the_integrator(tiny):
    profile = fk.profile_sampling(tiny.sampling(batch_size=300, compile=True).build())
    assert [part.name for part in profile.parts] == ["source", "model", "integrator", "rest"]
    assert next(part for part in profile.parts if part.name == "model").seconds > 0
    assert graphs() == 2  # 256 to warm up, and batches of any size
