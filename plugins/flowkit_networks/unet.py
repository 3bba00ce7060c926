"""A convolutional network for images."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from flowkit import Condition, EventShape, Network, NumClasses, Outputs

from .embeddings import LabelEmbedding, TimeEmbedding
from .forward_mode import attention, in_forward_mode

__all__ = ["UNet"]

FREQUENCIES = 16
GROUPS = 8
HEADS = 4


class UNet(nn.Module, Network):
    r"""Residual blocks down to a coarse image and up again, with a skip connection at every size.

    Level i has $c_i$ = width * multipliers[i] channels on an image halved i times. With R for `blocks` residual
    blocks, A for self-attention and L the last level,

    $$h_0 = \mathrm{conv}(x), \quad s_i = R(h_i), \quad h_{i+1} = \mathrm{down}(s_i), \quad g_L = R(A(s_L)), \quad
    g_i = R([\mathrm{up}(g_{i+1}), s_i]), \quad \mathrm{out} = \mathrm{conv}(\mathrm{SiLU}(\mathrm{norm}(g_0))),$$

    and every block sees $c = \mathrm{MLP}(t) + \mathrm{embedding}(y)$. The output is 0 before training. Samples of
    a batch do not meet: norms are over groups of channels of one image.

    Arguments:
        width: Channels at full size, divisible by 8.
        multipliers: Channels of each level, as multiples of the width; each level after the first halves the image.
        blocks: Residual blocks a level, on the way down and again on the way up.
        attention: Whether pixels attend to one another at the last level.
        dropout: The chance that an activation inside a block is dropped.
        event_shape: (channels, height, width).
        outputs: How many event-shaped outputs, side by side on the channels.
        num_classes: How many labels there are, or None for a network without labels.

    Raises:
        ValueError: The event is no image, or does not halve as often as there are levels; or the width has no
            8 groups.

    Examples:
        >>> network = UNet(32, (1, 2), event_shape=(1, 8, 8), num_classes=10)
        >>> network(torch.randn(5, 1, 8, 8), torch.rand(5), torch.tensor([3, 1, 4, 1, -1])).shape
        torch.Size([5, 1, 8, 8])

    References:
        Ronneberger et al. 2015, U-Net, figure 1. https://arxiv.org/abs/1505.04597
        Ho et al. 2020, Denoising Diffusion Probabilistic Models, appendix B. https://arxiv.org/abs/2006.11239
        Dhariwal and Nichol 2021, Diffusion Models Beat GANs, section 3. https://arxiv.org/abs/2105.05233
    """

    def __init__(
        self,
        width: Annotated[int, Field(gt=0)] = 32,
        multipliers: tuple[Annotated[int, Field(gt=0)], ...] = (1, 2),
        blocks: Annotated[int, Field(gt=0)] = 1,
        attention: bool = True,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        *,
        event_shape: EventShape,
        outputs: Outputs = 1,
        num_classes: NumClasses = None,
    ) -> None:
        super().__init__()
        _check(width, multipliers, event_shape)
        self.width, self.multipliers, self.blocks = width, tuple(multipliers), blocks
        self.attention, self.dropout = attention, dropout
        self.event_shape, self.outputs, self.num_classes = event_shape, outputs, num_classes
        features = 4 * width
        self.time = TimeEmbedding(
            FREQUENCIES,
            nn.Linear(2 * FREQUENCIES, features),
            nn.SiLU(),
            nn.Linear(features, features),
        )
        self.label = LabelEmbedding(num_classes, features) if num_classes else None

        channels = [width * multiplier for multiplier in multipliers]
        coarsest = channels[-1]
        self.stem = _conv(event_shape[0], channels[0])
        self.encoder = nn.ModuleList(_Stage(c, c, blocks, features, dropout) for c in channels[:-1])
        self.down = nn.ModuleList(_conv(fine, coarse, stride=2) for fine, coarse in pairwise(channels))
        self.before = _Stage(coarsest, coarsest, blocks, features, dropout)
        self.attend = _Attention(coarsest) if attention else nn.Identity()
        self.after = _Stage(coarsest, coarsest, blocks, features, dropout)
        self.up = nn.ModuleList(_conv(coarse, fine) for coarse, fine in pairwise(channels[::-1]))
        self.decoder = nn.ModuleList(_Stage(2 * c, c, blocks, features, dropout) for c in channels[-2::-1])
        self.norm = _Norm(GROUPS, channels[0])
        self.out = _zero(_conv(channels[0], outputs * event_shape[0]))
        # Convolutions on CPUs and on tensor cores are faster with the channels of a pixel side by side in memory.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor, t: Tensor, y: Condition = None) -> Tensor:
        """Shape (batch, outputs * channels, height, width)."""
        c = self.time(t, x)
        if self.label is not None:
            c = c + self.label(y, len(x))
        c = F.silu(c)
        h = self.stem(x)
        skips = []
        for stage, down in zip(self.encoder, self.down, strict=True):
            h = stage(h, c)
            skips.append(h)
            h = down(h)
        h = self.after(self.attend(self.before(h, c)), c)
        for stage, up in zip(self.decoder, self.up, strict=True):
            h = up(_doubled(h))
            h = stage(torch.cat([h, skips.pop()], dim=1), c)
        return self.out(F.silu(self.norm(h)))


class _Stage(nn.ModuleList):
    """Residual blocks, one after the other."""

    def __init__(self, before: int, after: int, blocks: int, features: int, dropout: float) -> None:
        inputs = [before] + [after] * (blocks - 1)
        super().__init__(_Block(channels, after, features, dropout) for channels in inputs)

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        """Shape (batch, after, height, width)."""
        for block in self:
            h = block(h, c)
        return h


class _Block(nn.Module):
    """x + conv(dropout(SiLU((1 + a) norm(h) + b))) with h = conv(SiLU(norm(x))) and (a, b) linear in the features c."""

    def __init__(self, before: int, after: int, features: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.conv1 = _Norm(GROUPS, before), _conv(before, after)
        self.film = nn.Linear(features, 2 * after)
        self.norm2, self.conv2 = _Norm(GROUPS, after), _zero(_conv(after, after))
        self.dropout = nn.Dropout(dropout)
        self.skip = nn.Conv2d(before, after, 1) if before != after else nn.Identity()

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """Shape (batch, after, height, width), for features of shape (batch, features)."""
        scale, shift = self.film(c)[:, :, None, None].chunk(2, dim=1)
        h = self.conv1(F.silu(self.norm1(x)))
        h = (1 + scale) * self.norm2(h) + shift
        return self.skip(x) + self.conv2(self.dropout(F.silu(h)))


class _Norm(nn.GroupNorm):
    """A group norm with what PyTorch's lacks where the channels of a pixel are side by side in memory.

    That has no forward-mode derivative there; and the compiler for CPUs makes of it loops over one group of one image,
    whose few channels fill a part of the processor's vectors. Sums over pixels, of all channels at once, fill them; the
    means over groups are then a small product of matrices.
    """

    def forward(self, x: Tensor) -> Tensor:
        """The shape of x."""
        if _compiling_for_cpu(x):
            return self._by_channels(x.to(self.weight.dtype)).to(x.dtype)
        return super().forward(x.contiguous() if in_forward_mode() else x)

    def _by_channels(self, x: Tensor) -> Tensor:
        centred = x - self._group_means(x)
        spread = (self._group_means(centred.square()) + self.eps).sqrt()
        return centred * (self.weight[:, None, None] / spread) + self.bias[:, None, None]

    def _group_means(self, x: Tensor) -> Tensor:
        """For every channel, the mean of its group over the pixels: shape (batch, channels, 1, 1)."""
        group = torch.arange(self.num_channels, device=x.device) // (self.num_channels // self.num_groups)
        alike = (group[:, None] == group).to(x.dtype)
        return (x.mean((2, 3)) @ (alike / alike.sum(0)))[:, :, None, None]


class _Attention(nn.Module):
    """x + softmax(Q^T K / sqrt(d)) V over the pixels, in four heads of d channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _Norm(GROUPS, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = _zero(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """The shape of x."""
        batch, channels, height, width = x.shape
        qkv = self.qkv(self.norm(x)).reshape(batch, 3, HEADS, channels // HEADS, height * width)
        q, k, v = qkv.transpose(-1, -2).contiguous().unbind(1)  # the fast ways take rows without gaps alone
        h = attention(q, k, v)
        return x + self.out(h.transpose(-1, -2).reshape(x.shape))


def _doubled(x: Tensor) -> Tensor:
    """Every pixel four times, two by two: shape (batch, channels, 2 height, 2 width)."""
    if not _compiling_for_cpu(x):
        return F.interpolate(x, scale_factor=2.0)
    # The gradient of interpolation is compiled to additions that lock memory, that of a repeat to plain sums.
    batch, channels, height, width = x.shape
    pixels = x[:, :, :, None, :, None].expand(batch, channels, height, 2, width, 2)
    return pixels.reshape(batch, channels, 2 * height, 2 * width)


def _compiling_for_cpu(x: Tensor) -> bool:
    return torch.compiler.is_compiling() and x.device.type == "cpu"


def _conv(before: int, after: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, stride=stride, padding=1)


def _zero(conv: nn.Conv2d) -> nn.Conv2d:
    for parameter in conv.parameters():
        nn.init.zeros_(parameter)
    return conv


def _check(width: int, multipliers: Sequence[int], event_shape: Sequence[int]) -> None:
    if width % GROUPS:
        raise ValueError(f"width must be divisible by {GROUPS}, the number of groups of the norms, got {width}")
    if not multipliers:
        raise ValueError("multipliers must name at least one level, got none")
    if len(event_shape) != 3:
        raise ValueError(
            f"a U-Net takes images of shape (channels, height, width), and the data have {tuple(event_shape)}: "
            "use the network 'mlp'"
        )
    halved = 2 ** (len(multipliers) - 1)
    if event_shape[1] % halved or event_shape[2] % halved:
        raise ValueError(
            f"{len(multipliers)} multipliers need a height and a width that {halved} divides, and the images are "
            f"{event_shape[1]} x {event_shape[2]}: give fewer multipliers"
        )
