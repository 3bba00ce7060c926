"""The fused update against the three calls of PyTorch that it stands for."""

import copy

import pytest
import torch
from torch import Tensor, nn

from flowkit.training.update import AcceleratedUpdate, FusedUpdate, Update

RATE = 1e-2


def losses(network: nn.Module, x: Tensor) -> Tensor:
    return network(x).square().mean() * 100


def networks() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 8), nn.SiLU(), nn.Linear(8, 2))
    network.register_parameter("unused", nn.Parameter(torch.ones(2)))
    return network, copy.deepcopy(network)


def adamw(network: nn.Module) -> torch.optim.AdamW:
    return torch.optim.AdamW(network.parameters(), lr=1.0, weight_decay=0.1, fused=True)


@pytest.mark.parametrize("clip", [None, 0.1, 1e6])
def test_the_update_is_that_of_clip_grad_norm_and_adamw(clip: float | None) -> None:
    ours, theirs = networks()
    update = FusedUpdate(list(ours.parameters()), clip, 0.1)
    optimizer = adamw(theirs)
    optimizer.param_groups[0]["lr"] = RATE
    for _ in range(5):
        x = torch.randn(16, 3)
        losses(ours, x).backward()
        update(RATE)
        losses(theirs, x).backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(theirs.parameters(), clip)
        optimizer.step()
        optimizer.zero_grad()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        # A rounding of the gradient moves the quotient of Adam by as much, and a step by RATE times that.
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)
        assert mine.grad is None
    # Adam hardly notices the scale of a gradient; what it keeps does.
    for kept, (_, parameter) in zip(update.state()[1:], list(theirs.named_parameters())[1:], strict=True):
        torch.testing.assert_close(kept["exp_avg"], optimizer.state[parameter]["exp_avg"], rtol=1e-4, atol=1e-6)


def test_a_weight_that_no_gradient_reaches_stays() -> None:
    ours, _ = networks()
    update = FusedUpdate(list(ours.parameters()), 1.0, 0.1)
    losses(ours, torch.randn(16, 3)).backward()
    update(RATE)
    assert torch.equal(ours.unused, torch.ones(2))


@pytest.mark.parametrize("kind", [FusedUpdate, AcceleratedUpdate])
def test_a_restored_state_goes_on_to_the_bit(kind: type[Update]) -> None:
    network, _ = networks()
    update, x = kind(list(network.parameters()), None, 0.1), torch.randn(16, 3)

    def step(network: nn.Module, update: Update) -> None:
        losses(network, x).backward()
        update(RATE)

    step(network, update)
    copied = copy.deepcopy(network)
    other = kind(list(copied.parameters()), None, 0.1)
    other.restore(copy.deepcopy(update.state()))
    step(network, update)
    step(copied, other)
    for mine, theirs in zip(network.parameters(), copied.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_gradient_that_is_not_a_number_shows_in_the_weights() -> None:
    ours, _ = networks()
    (losses(ours, torch.randn(16, 3)) * torch.nan).backward()
    FusedUpdate(list(ours.parameters()), 1.0, 0.1)(RATE)
    assert not ours[0].weight.isfinite().any()
