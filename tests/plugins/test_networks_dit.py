"""The diffusion transformer, against the formulas of its paper and a plain layer of PyTorch."""

import math

import pytest
import torch
from flowkit_networks.dit import DiT
from flowkit_networks.embeddings import place_features
from torch import nn
from torch.nn import functional as F

import flowkit as fk
from flowkit.compiler import cxx_compiler

EXACT = {"rtol": 1e-11, "atol": 1e-11}  # float64, where the same sums are taken in another order


def build(dtype=torch.float64, **settings):
    """A small one in which no weight is zero, so that every part has its say."""
    settings = {"width": 12, "depth": 2, "heads": 3, "patch": 2, "event_shape": (3, 4, 6), "num_classes": 5} | settings
    torch.manual_seed(0)
    network = DiT(**settings).to(dtype)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return network


def inputs(network, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4, *network.event_shape, generator=generator, dtype=dtype)
    return x, torch.rand(4, generator=generator, dtype=dtype), torch.tensor([3, 1, -1, 4])


def plain_norm(h, shift, scale):
    centred = h - h.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt() * (1 + scale[:, None]) + shift[:, None]


def plain_block(block, h, c):
    """Section 3.2 and figure 3 of the paper, with PyTorch's own layer of attention."""
    attention = nn.MultiheadAttention(h.shape[-1], block.heads, batch_first=True, dtype=h.dtype)
    attention.in_proj_weight, attention.in_proj_bias = block.qkv.weight, block.qkv.bias
    attention.out_proj = block.out
    shift1, scale1, gate1, shift2, scale2, gate2 = block.modulation(c).chunk(6, dim=1)
    given = plain_norm(h, shift1, scale1)
    h = h + gate1[:, None] * attention(given, given, given)[0]
    hidden = block.mlp[0](plain_norm(h, shift2, scale2))
    hidden = hidden * (1 + torch.tanh(math.sqrt(2 / math.pi) * (hidden + 0.044715 * hidden**3))) / 2
    return h + gate2[:, None] * block.mlp[2](hidden)


def test_an_untrained_dit_says_nothing_and_its_blocks_are_the_identity():
    network = DiT(16, event_shape=(1, 8, 8), num_classes=5)
    assert not network(*inputs(network, torch.float32)).any()
    h, c = torch.randn(2, 7, 16), torch.randn(2, 16)
    assert all(torch.equal(block(h, c), h) for block in network.blocks)


def test_a_block_is_the_formula_of_the_paper():
    block = build().blocks[0]
    h, c = torch.randn(4, 7, 12, dtype=torch.float64), torch.randn(4, 12, dtype=torch.float64)
    torch.testing.assert_close(block(h, c), plain_block(block, h, c), **EXACT)


@pytest.mark.parametrize("outputs", [1, 2])
def test_the_network_is_patches_blocks_and_patches_again(outputs):
    network = build(outputs=outputs)
    x, t, y = inputs(network)
    c = F.silu(network.time(t, x) + network.label.table.weight[y + 1])
    h = F.conv2d(
        x, network.embed.weight.reshape(12, 3, 2, 2), network.embed.bias, stride=2
    )  # as the paper's code has it
    h = h.flatten(2).mT + place_features(2, 3, 12).double()
    for block in network.blocks:
        h = plain_block(block, h, c)
    tokens = network.out(plain_norm(h, *network.modulation(c).chunk(2, dim=1)))
    expected = torch.empty(4, outputs * 3, 4, 6, dtype=torch.float64)
    for row in range(4):
        for column in range(6):
            pixels = tokens[:, (row // 2) * 3 + column // 2].reshape(4, 2, 2, outputs * 3)
            expected[:, :, row, column] = pixels[:, row % 2, column % 2]
    torch.testing.assert_close(network(x, t, y), expected, **EXACT)


def test_the_place_of_a_patch_is_told_by_the_sines_and_cosines_of_the_papers_code():
    rows, columns, width = 3, 5, 16
    features = place_features(rows, columns, width)
    assert features.shape == (rows * columns, width)
    for row in range(rows):
        for column in range(columns):
            for i in range(width // 4):
                omega = 1 / 10000 ** (i / (width / 4))
                seen = features[row * columns + column].reshape(4, width // 4)[:, i].tolist()
                wanted = [f(omega * place) for place in (column, row) for f in (math.sin, math.cos)]
                assert seen == pytest.approx(wanted, abs=1e-7)  # float32 next to 1


def test_places_are_no_weights_and_follow_the_network():
    network = build(torch.float32)
    assert "positions" not in network.state_dict()
    assert "positions" not in dict(network.named_parameters())
    assert network.to("meta").positions.is_meta


PAPER = {  # its table 1, and the parameters of its table 4 in millions
    "S/8": (384, 12, 6, 8, 33),
    "S/4": (384, 12, 6, 4, 33),
    "S/2": (384, 12, 6, 2, 33),
    "B/8": (768, 12, 12, 8, 131),
    "B/4": (768, 12, 12, 4, 130),
    "B/2": (768, 12, 12, 2, 130),
    "L/8": (1024, 24, 16, 8, 459),
    "L/4": (1024, 24, 16, 4, 458),
    "L/2": (1024, 24, 16, 2, 458),
    "XL/8": (1152, 28, 16, 8, 676),
    "XL/4": (1152, 28, 16, 4, 675),
    "XL/2": (1152, 28, 16, 2, 675),
}


@pytest.mark.parametrize("name", PAPER)
def test_the_models_of_the_paper_have_the_parameters_of_the_paper(name):
    """Ours has fewer features of the time, 32 and not 256; its second output is the paper's learned variance."""
    width, depth, heads, patch, millions = PAPER[name]
    channels, classes, features, variance = 4, 1000, 256, 2
    time = (features + 1) * width + (width + 1) * width
    embeddings = (channels * patch**2 + 1) * width + time + (classes + 1) * width
    attention, mlp = 4 * (width + 1) * width, (width + 1) * 4 * width + (4 * width + 1) * width
    block = attention + mlp + 6 * (width + 1) * width
    final = 2 * (width + 1) * width + (width + 1) * variance * channels * patch**2
    paper = embeddings + depth * block + final
    assert round(paper / 1e6) == millions
    with torch.device("meta"):
        network = DiT(width, depth, heads, patch, event_shape=(channels, 32, 32), outputs=2, num_classes=classes)
        alone = DiT(width, depth, heads, patch, event_shape=(channels, 32, 32), num_classes=classes)
    assert count(network) == paper - (256 - 32) * width
    assert count(network) - count(alone) == (width + 1) * channels * patch**2


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_a_dit_has_the_forward_mode_derivative_that_backward_mode_gives():
    network = build()
    x, t, y = inputs(network)
    along, probe = torch.randn(2, *x.shape, dtype=torch.float64)
    _, forward = torch.func.jvp(lambda x: network(x, t, y), (x,), (along,))
    _, backward = torch.func.vjp(lambda x: network(x, t, y), x)
    torch.testing.assert_close((forward * probe).sum(), (backward(probe)[0] * along).sum(), rtol=1e-10, atol=1e-10)


def test_in_mixed_precision_products_are_in_bfloat16_and_tokens_stay_in_float32():
    network = build(torch.float32)
    types = {}
    for name, module in network.named_modules():
        module.register_forward_hook(lambda module, given, out, name=name: types.update({name: out.dtype}))
    x, t, y = inputs(network, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        out = network(x, t, y)
    assert {types[f"blocks.{i}"] for i in range(2)} == {torch.float32}
    assert {types[f"blocks.{i}.{name}"] for i in range(2) for name in ("qkv", "out", "mlp")} == {torch.bfloat16}
    roundings = 2 * 8 + 6  # one after the other: eight in a block, and at its two ends
    error = (out.float() - network(x, t, y)).norm() / network(x, t, y).norm()
    assert error < roundings * 2**-8


@pytest.mark.slow
@pytest.mark.skipif(cxx_compiler() is None, reason="there is no C++ compiler")
def test_a_compiled_dit_gives_the_same_outputs_and_gradients():
    network = build()
    x, t, y = inputs(network)
    torch.compiler.reset()
    compiled = torch.compile(network, fullgraph=True)
    probe = torch.randn(x.shape, dtype=torch.float64)
    expected = torch.autograd.grad((network(x, t, y) * probe).sum(), list(network.parameters()))
    seen = torch.autograd.grad((compiled(x, t, y) * probe).sum(), list(network.parameters()))
    torch.testing.assert_close(compiled(x, t, y), network(x, t, y), **EXACT)
    torch.testing.assert_close(seen, expected, rtol=1e-9, atol=1e-9)  # sums over the batch


def test_a_pipeline_with_a_dit_trains_and_is_loaded_again(tmp_path):
    builder = fk.Pipeline.builder().data("digits").network("dit", width=16, depth=1)
    pipeline = builder.training(steps=3, batch_size=16).sampling("euler", steps=2).build()
    run = pipeline.fit(tmp_path / "run")
    samples = run.sample(4, seed=0)
    assert samples.any()
    assert torch.equal(fk.Pipeline.load(tmp_path / "run").sample(4, seed=0), samples)


@pytest.mark.parametrize(
    ("settings", "event_shape", "sentence"),
    [
        (
            {},
            (2,),
            r"takes images of shape \(channels, height, width\), and the data have \(2,\): use",
        ),
        ({"patch": 3}, (1, 6, 8), "a patch of 3 must divide the height and the width, and the images are 6 x 8"),
        ({}, (1, 7, 8), "a patch of 2 must divide the height and the width, and the images are 7 x 8"),
        ({"width": 20, "heads": 3}, (1, 8, 8), "width must be divisible by heads, got a width of 20 and 3 heads"),
        ({"width": 30, "heads": 3}, (1, 8, 8), "width must be divisible by 4, .* got 30"),
    ],
)
def test_a_dit_says_which_data_and_settings_it_cannot_take(settings, event_shape, sentence):
    with pytest.raises(ValueError, match=sentence) as raised:
        DiT(**settings, event_shape=event_shape)
    assert "\n" not in str(raised.value)
