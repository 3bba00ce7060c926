"""The networks: shapes, labels, independence of samples, and that nothing in them is dead."""

import copy
import itertools

import pytest
import torch
from flowkit_networks.dit import DiT
from flowkit_networks.embeddings import TimeFeatures
from flowkit_networks.mlp import MLP
from flowkit_networks.unet import UNet
from torch import nn

NETWORKS = {
    "mlp": (MLP, {"width": 16}, (2,)),
    "mlp on images": (MLP, {"width": 16, "depth": 1}, (3, 4, 4)),
    "unet": (UNet, {"width": 16}, (1, 8, 8)),
    "unet, two blocks, three levels": (UNet, {"width": 16, "multipliers": (1, 2, 3), "blocks": 2}, (3, 8, 4)),
    "unet, one level": (UNet, {"width": 16, "multipliers": (2,)}, (1, 5, 7)),
    "unet without attention": (UNet, {"width": 16, "attention": False, "dropout": 0.1}, (1, 8, 8)),
    "dit": (DiT, {"width": 16, "depth": 2}, (1, 8, 8)),
    "dit, patches of 3, more columns than rows": (DiT, {"width": 12, "heads": 3, "depth": 1, "patch": 3}, (2, 6, 9)),
}
CLASSES = 10
every_network = pytest.mark.parametrize("name", NETWORKS)


def build(name, **injected):
    """A network for evaluation in which no weight is zero, so that every part has its say."""
    network_class, settings, event_shape = NETWORKS[name]
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        network = network_class(**settings, event_shape=event_shape, **injected)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter += 0.1 * torch.randn(parameter.shape)
    return network.eval()


def inputs(network, batch=4, dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(batch, *network.event_shape, generator=generator).to(dtype)
    t = torch.rand(batch, generator=generator).to(dtype)
    return x, t, torch.arange(batch) % CLASSES


@every_network
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("outputs", [1, 2])
def test_the_outputs_lie_side_by_side_on_the_first_event_axis(name, dtype, outputs):
    network = build(name, outputs=outputs, num_classes=CLASSES).to(dtype)
    x, t, y = inputs(network, dtype=dtype)
    out = network(x, t, y)
    assert out.shape == (4, outputs * x.shape[1], *x.shape[2:])
    assert out.dtype == dtype
    assert out.isfinite().all()


@every_network
def test_the_features_of_a_time_are_the_same_whatever_the_type_of_the_layers(name):
    network, t = build(name), torch.tensor([1 / 3, 0.9, 0.901])  # the last two are one number in bfloat16
    (features,) = (module for module in network.modules() if isinstance(module, TimeFeatures))
    before = features(t)
    network.to(torch.bfloat16)
    assert torch.equal(features(t), before)
    out = network(torch.zeros(3, *network.event_shape, dtype=torch.bfloat16), t)
    assert out.dtype == torch.bfloat16


@every_network
def test_a_sample_does_not_depend_on_the_others_of_its_batch(name):
    network = build(name, num_classes=CLASSES).double().train()
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    x, t, y = inputs(network, dtype=torch.float64)
    together = network(x, t, y)
    x[1:], t[1:], y[1:] = 5 * x[1:], 1 - t[1:], 9
    torch.testing.assert_close(network(x, t, y)[0], together[0])
    torch.testing.assert_close(network(x[:1], t[:1], y[:1])[0], together[0])


@every_network
def test_every_parameter_gets_a_gradient(name):
    network = build(name, num_classes=CLASSES).double()
    x, t, y = inputs(network, batch=CLASSES + 1, dtype=torch.float64)
    y[-1] = -1
    network(x, t, y).square().mean().backward()
    sizes = {key: parameter.grad.abs().max().item() for key, parameter in network.named_parameters()}
    assert [key for key, size in sizes.items() if size < 1e-9] == []  # rounding leaves 1e-16 where there is none


@every_network
def test_the_output_depends_on_state_time_and_label(name):
    network = build(name, num_classes=CLASSES).double()
    x, t, y = inputs(network, dtype=torch.float64)
    out = network(x, t, y)
    for other in (network(x + 1, t, y), network(x, t / 2, y), network(x, t, y + 1)):
        assert ((other - out).flatten(1).abs().amax(1) > 1e-6).all()


@every_network
def test_every_label_and_none_has_an_output_of_its_own(name):
    network = build(name, num_classes=CLASSES).double()
    x, t, y = inputs(network, dtype=torch.float64)
    outputs = [network(x, t, torch.full_like(y, label)) for label in range(-1, CLASSES)]
    for one, other in itertools.combinations(outputs, 2):
        assert ((one - other).flatten(1).abs().amax(1) > 1e-6).all()


@every_network
def test_no_condition_is_the_label_minus_one(name):
    network = build(name, num_classes=CLASSES)
    x, t, y = inputs(network)
    torch.testing.assert_close(network(x, t), network(x, t, torch.full_like(y, -1)), rtol=0, atol=0)
    assert not torch.allclose(network(x, t), network(x, t, y))


@every_network
def test_a_network_without_labels_has_no_use_for_them(name):
    network = build(name)
    x, t, y = inputs(network)
    assert torch.equal(network(x, t), network(x, t, y))
    assert network.label is None


@every_network
def test_the_state_dict_makes_another_network_the_same(name):
    network = build(name, num_classes=CLASSES)
    network_class, settings, event_shape = NETWORKS[name]
    other = network_class(**settings, event_shape=event_shape, num_classes=CLASSES).eval()
    other.load_state_dict(network.state_dict())
    x, t, y = inputs(network)
    assert torch.equal(other(x, t, y), network(x, t, y))


@every_network
def test_settings_can_be_read_back(name):
    network_class, settings, event_shape = NETWORKS[name]
    network = network_class(**settings, event_shape=event_shape, outputs=2, num_classes=CLASSES)
    given = {**settings, "event_shape": event_shape, "outputs": 2, "num_classes": CLASSES}
    assert {key: getattr(network, key) for key in given} == given


DEEP = "unet, two blocks, three levels"
"""More of what other networks have: it takes as long to trace as all of them."""


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n == DEEP else []) for n in NETWORKS])
def test_it_compiles_in_one_graph(name):
    network = build(name, num_classes=CLASSES)
    x, t, y = inputs(network)
    torch.compiler.reset()
    compiled = torch.compile(network, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x, t, y), network(x, t, y))
    torch.testing.assert_close(compiled(x, t), network(x, t))


@every_network
def test_one_time_expanded_to_the_batch_gives_what_as_many_equal_times_give(name):
    network = build(name, num_classes=CLASSES).double()
    x, t, y = inputs(network, dtype=torch.float64)
    one = t[:1].expand(len(x))
    torch.testing.assert_close(network(x, one, y), network(x, one.clone(), y))


def test_an_untrained_unet_says_nothing():
    network = UNet(width=8, event_shape=(1, 8, 8), num_classes=CLASSES)
    assert not network(*inputs(network)).any()


def test_a_unet_keeps_the_channels_of_a_pixel_side_by_side_and_computes_the_same():
    torch.manual_seed(0)
    network = UNet(8, (1, 2), event_shape=(3, 8, 8)).double()
    for parameter in network.parameters():  # zero convolutions would hide what comes before them
        nn.init.normal_(parameter, std=0.1)
    x, t = torch.randn(4, 3, 8, 8, dtype=torch.float64), torch.rand(4, dtype=torch.float64)
    assert network.stem.weight.is_contiguous(memory_format=torch.channels_last)
    assert network.stem(x).is_contiguous(memory_format=torch.channels_last)
    usual = copy.deepcopy(network).to(memory_format=torch.contiguous_format)
    torch.testing.assert_close(network(x, t), usual(x, t), rtol=1e-11, atol=1e-11)  # another order of sums


def test_what_a_unet_is_compiled_from_is_what_it_computes(monkeypatch):
    torch.manual_seed(0)
    network = UNet(16, (1, 2), event_shape=(3, 8, 8), num_classes=CLASSES).double()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1)
    x, t, y = inputs(network, dtype=torch.float64)

    def field_and_gradients():
        field = network(x, t, y)
        return field, *torch.autograd.grad(field.square().sum(), list(network.parameters()))

    usual = field_and_gradients()
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    monkeypatch.setattr(nn.GroupNorm, "forward", None)  # is not called
    for ours, theirs in zip(field_and_gradients(), usual, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)  # another order of sums


def test_a_unet_has_the_forward_mode_derivative_that_backward_mode_gives():
    torch.manual_seed(0)
    network = UNet(8, (1, 2), event_shape=(3, 8, 8)).double()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1)
    x, along, probe = torch.randn(3, 4, 3, 8, 8, dtype=torch.float64)
    t = torch.rand(4, dtype=torch.float64)
    _, forward = torch.func.jvp(lambda x: network(x, t), (x,), (along,))
    _, backward = torch.func.vjp(lambda x: network(x, t), x)
    torch.testing.assert_close((forward * probe).sum(), (backward(probe)[0] * along).sum(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("multipliers", [(1,), (1, 2), (1, 1, 2)])
def test_each_level_of_a_unet_halves_the_image(multipliers):
    network = UNet(width=8, multipliers=multipliers, event_shape=(1, 8, 16))
    seen = []
    network.before.register_forward_hook(lambda module, given, out: seen.append(tuple(out.shape[2:])))
    network(*inputs(network))
    halved = 2 ** (len(multipliers) - 1)
    assert seen == [(8 // halved, 16 // halved)]


@pytest.mark.parametrize("width", [8, 24, 40])
def test_a_unet_of_any_width_that_8_divides_can_be_built(width):
    network = UNet(width=width, multipliers=(1, 3), event_shape=(1, 4, 4))
    assert network(*inputs(network)).shape == (4, 1, 4, 4)


@pytest.mark.parametrize(
    ("settings", "event_shape", "sentence"),
    [
        ({}, (2,), r"takes images of shape \(channels, height, width\), and the data have \(2,\)"),
        ({}, (1, 7, 8), "2 multipliers need a height and a width that 2 divides, and the images are 7 x 8"),
        ({"multipliers": (1, 2, 4)}, (1, 8, 6), "that 4 divides, and the images are 8 x 6: give fewer multipliers"),
        ({"width": 20}, (1, 8, 8), "width must be divisible by 8, .* got 20"),
        ({"multipliers": ()}, (1, 8, 8), "multipliers must name at least one level"),
    ],
)
def test_a_unet_says_which_data_and_settings_it_cannot_take(settings, event_shape, sentence):
    with pytest.raises(ValueError, match=sentence):
        UNet(**settings, event_shape=event_shape)
