"""A transformer for images."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from flowkit import Condition, EventShape, Network, NumClasses, Outputs

from .embeddings import LabelEmbedding, TimeEmbedding, place_features
from .forward_mode import attention

__all__ = ["DiT"]

FREQUENCIES = 16
MLP_RATIO = 4


class DiT(nn.Module, Network):
    r"""A transformer on the patches of an image, whose layers see time and label through their norms (adaLN-Zero).

    Each of the T patches of p x p pixels is a token of D = `width` numbers. With N for a layer norm without weights
    and $c = \mathrm{MLP}(t) + \mathrm{embedding}(y)$,

    $$h = W x_\mathrm{patches} + \mathrm{place}, \qquad
    h \leftarrow h + g_1\, \mathrm{attention}((1 + a_1) N(h) + b_1), \qquad
    h \leftarrow h + g_2\, \mathrm{MLP}((1 + a_2) N(h) + b_2), \qquad
    \mathrm{out} = V ((1 + a) N(h) + b),$$

    the middle two `depth` times, where every a, b and g is linear in SiLU(c), and place is fixed: sines and cosines
    of row and column. At the start all of these and V are 0: blocks are the identity, and the output is 0.

    DiT-B/4 of the paper is `width=768, depth=12, heads=12, patch=4`; width, depth and heads are 384, 12, 6 for its S,
    1024, 24, 16 for its L and 1152, 28, 16 for its XL. What differs: the features of the time; the embeddings of time
    and label, which begin larger, so that a small network learns them sooner; and the head decides how many outputs
    there are.

    Arguments:
        width: The numbers of a token, divisible by 4 and by the heads.
        depth: How many blocks.
        heads: In how many parts tokens attend to one another.
        patch: The side of a patch in pixels; half of it makes four times the tokens.
        event_shape: (channels, height, width).
        outputs: How many event-shaped outputs, side by side on the channels.
        num_classes: How many labels there are, or None for a network without labels.

    Raises:
        ValueError: The event is no image, or is not made of whole patches; or the width cannot be divided.

    Examples:
        >>> network = DiT(32, depth=2, event_shape=(1, 8, 8), num_classes=10)
        >>> network(torch.randn(5, 1, 8, 8), torch.rand(5), torch.tensor([3, 1, 4, 1, -1])).shape
        torch.Size([5, 1, 8, 8])

    References:
        Peebles and Xie 2023, Scalable Diffusion Models with Transformers, section 3.2. https://arxiv.org/abs/2212.09748
    """

    positions: Tensor

    def __init__(
        self,
        width: Annotated[int, Field(gt=0)] = 128,
        depth: Annotated[int, Field(gt=0)] = 4,
        heads: Annotated[int, Field(gt=0)] = 4,
        patch: Annotated[int, Field(gt=0)] = 2,
        *,
        event_shape: EventShape,
        outputs: Outputs = 1,
        num_classes: NumClasses = None,
    ) -> None:
        super().__init__()
        _check(width, heads, patch, event_shape)
        self.width, self.depth, self.heads, self.patch = width, depth, heads, patch
        self.event_shape, self.outputs, self.num_classes = event_shape, outputs, num_classes
        channels, rows, columns = event_shape[0], event_shape[1] // patch, event_shape[2] // patch
        self.time = TimeEmbedding(
            FREQUENCIES,
            _linear(2 * FREQUENCIES, width),
            nn.SiLU(),
            _linear(width, width),
        )
        self.label = LabelEmbedding(num_classes, width) if num_classes else None
        self.embed = _linear(channels * patch**2, width)
        self.register_buffer("positions", place_features(rows, columns, width), persistent=False)
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(depth))
        self.modulation = _zero(_linear(width, 2 * width))
        self.out = _zero(_linear(width, outputs * channels * patch**2))

    def forward(self, x: Tensor, t: Tensor, y: Condition = None) -> Tensor:
        """Shape (batch, outputs * channels, height, width)."""
        c = self.time(t, x)
        if self.label is not None:
            c = c + self.label(y, len(x))
        c = F.silu(c)
        h = self.embed(_patches(x, self.patch)) + self.positions
        for block in self.blocks:
            h = block(h, c)
        shift, scale = self.modulation(c)[:, None].chunk(2, dim=2)
        return _image(self.out(_norm(h, shift, scale)), self.patch, x.shape[2] // self.patch)


class _Block(nn.Module):
    """h + g1 attention((1 + a1) N(h) + b1), then the same with an MLP; a, b and g are linear in the features c."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.modulation = _zero(_linear(width, 6 * width))
        self.qkv, self.out = _linear(width, 3 * width), _linear(width, width)
        hidden = MLP_RATIO * width
        self.mlp = nn.Sequential(_linear(width, hidden), nn.GELU("tanh"), _linear(hidden, width))

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        """Shape (batch, tokens, width), for features of shape (batch, width)."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(c)[:, None].chunk(6, dim=2)
        h = h + gate1 * self._attend(_norm(h, shift1, scale1))
        return h + gate2 * self.mlp(_norm(h, shift2, scale2))

    def _attend(self, h: Tensor) -> Tensor:
        batch, tokens, width = h.shape
        qkv = self.qkv(h).reshape(batch, tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind()
        return self.out(attention(q, k, v).transpose(1, 2).reshape(batch, tokens, width))


def _linear(before: int, after: int) -> nn.Linear:
    linear = nn.Linear(before, after)
    nn.init.xavier_uniform_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


def _zero(linear: nn.Linear) -> nn.Linear:
    nn.init.zeros_(linear.weight)
    return linear


def _norm(h: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """(1 + scale) N(h) + shift, for tokens and, each of shape (batch, 1, width), a shift and a scale."""
    return (1 + scale) * F.layer_norm(h, h.shape[-1:], eps=1e-6) + shift


def _patches(x: Tensor, patch: int) -> Tensor:
    """An image of shape (batch, channels, height, width) as tokens of shape (batch, tokens, channels * patch^2)."""
    batch, channels, height, width = x.shape
    x = x.reshape(batch, channels, height // patch, patch, width // patch, patch)
    return x.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels * patch**2)


def _image(tokens: Tensor, patch: int, rows: int) -> Tensor:
    """Tokens of shape (batch, tokens, patch^2 * channels) as an image of shape (batch, channels, height, width)."""
    batch, count, _ = tokens.shape
    columns = count // rows
    x = tokens.reshape(batch, rows, columns, patch, patch, -1)
    return x.permute(0, 5, 1, 3, 2, 4).reshape(batch, -1, rows * patch, columns * patch)


def _check(width: int, heads: int, patch: int, event_shape: Sequence[int]) -> None:
    if width % 4:
        raise ValueError(f"width must be divisible by 4, for sine and cosine of row and column, got {width}")
    if width % heads:
        raise ValueError(f"width must be divisible by heads, got a width of {width} and {heads} heads")
    if len(event_shape) != 3:
        raise ValueError(
            f"a DiT takes images of shape (channels, height, width), and the data have {tuple(event_shape)}: "
            "use the network 'mlp'"
        )
    if event_shape[1] % patch or event_shape[2] % patch:
        raise ValueError(
            f"a patch of {patch} must divide the height and the width, and the images are "
            f"{event_shape[1]} x {event_shape[2]}"
        )
