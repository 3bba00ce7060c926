"""What a network's output means: one quantity, or two of them."""

from flowkit import Head, Quantity

__all__ = ["DataHead", "JointHead", "NoiseHead", "ScoreHead", "VHead", "VelocityHead"]


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


class VHead(Head):
    """The output is v = alpha_t E[x0|x] - beta_t E[z|x], which is of unit scale at every time.

    On the cosine schedule it is the velocity, but for the factor -2/pi.

    References:
        Salimans and Ho 2022, Progressive Distillation, section 4. https://arxiv.org/abs/2202.00512
    """

    quantities = (Quantity.V,)


class JointHead(Head):
    """Two outputs of one network: the velocity, then the score."""

    quantities = (Quantity.VELOCITY, Quantity.SCORE)
