"""Forward-mode derivatives, where PyTorch's fast ways have none."""

from contextlib import nullcontext

from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

__all__ = ["attention", "in_forward_mode"]


def in_forward_mode() -> bool:
    """Whether a forward-mode derivative is being taken, of whatever."""
    level: int = forward_ad._current_level  # nothing public tells under nested transforms
    return level >= 0


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    r"""$\mathrm{softmax}(Q^T K / \sqrt d) V$, the fast way, or one with a forward-mode derivative while that is taken.

    Arguments:
        q: Queries, of shape (batch, heads, tokens, d). The fast ways need the d numbers side by side in memory.
        k: Keys, of the same shape.
        v: Values, of the same shape.

    Returns:
        Shape (batch, heads, tokens, d).
    """
    with sdpa_kernel(SDPBackend.MATH) if in_forward_mode() else nullcontext():
        return F.scaled_dot_product_attention(q, k, v)
