"""Linear layers are taken apart for the compiler, and compute what they did."""

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from flowkit.pipeline.separate_bias import SeparateBias

ADDMM = torch.ops.aten.addmm.default


def taken_apart(function, *given):
    graph = make_fx(function)(*given)
    SeparateBias()(graph.graph)
    graph.recompile()
    return graph, [node.target for node in graph.graph.nodes].count(ADDMM)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_layer_becomes_a_product_and_a_sum(dtype):
    layer, x = torch.nn.Linear(5, 3, dtype=dtype), torch.randn(7, 5, dtype=dtype)
    graph, left = taken_apart(lambda x: layer(layer(x)[:, [0, 1, 2, 0, 1]]).relu(), x)
    assert left == 0
    torch.testing.assert_close(graph(x), layer(layer(x)[:, [0, 1, 2, 0, 1]]).relu())


def test_what_would_be_rounded_twice_stays_as_it_is():
    layer = torch.nn.Linear(5, 3, dtype=torch.bfloat16)
    assert taken_apart(layer, torch.randn(7, 5, dtype=torch.bfloat16))[1] == 1


def test_other_factors_than_one_stay():
    bias, x, weight = torch.randn(3), torch.randn(7, 5), torch.randn(5, 3)
    assert taken_apart(lambda x: torch.addmm(bias, x, weight, beta=2, alpha=3), x)[1] == 1


@pytest.mark.slow
def test_a_network_is_compiled_so_for_sampling(tiny):
    from torch._inductor.utils import run_and_get_code

    if torch.cuda.is_available():
        pytest.skip("on GPUs the compiler does it")
    torch._dynamo.reset()
    _, code = run_and_get_code(lambda: tiny.build().sample(64, compile=True))
    assert "extern_kernels.mm(" in "".join(code)
    assert "extern_kernels.addmm(" not in "".join(code)


@pytest.mark.parametrize("compiled", ["training", "sampling"])
def test_sampling_hands_it_to_the_compiler_and_training_does_not(tiny, tmp_path, monkeypatch, compiled):
    """A step keeps what comes before an activation for its backward pass, and gains nothing."""
    given = []

    def uncompiled(function, *, options, **_):
        given.append(type(options.get("post_grad_custom_post_pass")))
        return function

    monkeypatch.setattr(torch, "compile", uncompiled)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    if compiled == "training":
        tiny.training(compile=True).build().fit(tmp_path / "run")
    else:
        tiny.build().sample(4, compile=True)
    assert set(given) == {SeparateBias if compiled == "sampling" else type(None)}
