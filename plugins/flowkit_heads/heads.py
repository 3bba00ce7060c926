"""What a network's output means: one quantity, or two of them."""

from flowkit import Head, Quantity

__all__ = ["DataHead", "JointHead", "NoiseHead", "ScoreHead", "VelocityHead"]


class VelocityHead(Head):
    """The output is u_t(x), as in flow matching."""

    quantities = (Quantity.VELOCITY,)


class ScoreHead(Head):
    """The output is grad log p_t(x), as in score matching.

    The score grows like 1/beta_t towards the data, which a plain network follows badly; a noise head
    learns the same field at unit scale.
    """

    quantities = (Quantity.SCORE,)


class NoiseHead(Head):
    """The output is E[x0 | x_t = x], as in DDPM (Ho et al. 2020, equation 14)."""

    quantities = (Quantity.NOISE,)


class DataHead(Head):
    """The output is E[z | x_t = x], the denoiser."""

    quantities = (Quantity.DATA,)


class JointHead(Head):
    """Two outputs of one network: the velocity, then the score."""

    quantities = (Quantity.VELOCITY, Quantity.SCORE)
