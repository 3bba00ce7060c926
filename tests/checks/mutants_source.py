"""A right source, and one wrong in each way that a check of sources looks for."""

import math

import torch

from flowkit import Source


class Right(Source):
    """N(0, 4 I)."""

    def sample(self, n, event_shape, generator=None, device="cpu", dtype=torch.float32):
        return 2 * torch.randn((n, *event_shape), generator=generator, device=device, dtype=dtype)

    def log_prob(self, x):
        x = x.flatten(1)
        return -x.square().sum(1) / 8 - x.shape[1] * (math.log(2) + math.log(2 * math.pi) / 2)


class Flat(Right):
    def sample(self, n, event_shape, *arguments, **keywords):
        return super().sample(n, event_shape, *arguments, **keywords)[:, :1]


class AlwaysFloat32(Right):
    def sample(self, *arguments, **keywords):
        return super().sample(*arguments, **keywords).float()


class Global(Right):
    def sample(self, n, event_shape, generator=None, device="cpu", dtype=torch.float32):
        return super().sample(n, event_shape, None, device, dtype)


class OneForAll(Right):
    def sample(self, n, event_shape, generator=None, device="cpu", dtype=torch.float32):
        return super().sample(1, event_shape, generator, device, dtype).expand(n, *event_shape)


class Speechless(Right):
    def sample(self, n, event_shape, generator=None, device="cpu", dtype=torch.float32):
        if event_shape != (2,):
            raise ValueError("points of the plane only")
        return super().sample(n, event_shape, generator, device, dtype)


class Summed(Right):
    def log_prob(self, x):
        return super().log_prob(x).sum()


class OtherScale(Right):
    def log_prob(self, x):
        return super().log_prob(x / 2)


class WithoutConstant(Right):
    def log_prob(self, x):
        return -x.flatten(1).square().sum(1) / 8


class CalledStandard(Right):
    """Of variance 4, and says that it is N(0, I)."""

    standard_normal = True


class Standard(Right):
    """N(0, I)."""

    standard_normal = True

    def sample(self, *arguments, **keywords):
        return super().sample(*arguments, **keywords) / 2

    def log_prob(self, x):
        return super().log_prob(2 * x) + x[0].numel() * math.log(2)


RIGHT = [Right(), Standard()]
MUTANTS = {
    "has_the_shape_asked_for": Flat(),
    "has_the_dtype_asked_for": AlwaysFloat32(),
    "draws_follow_the_generator": Global(),
    "draws_are_independent": OneForAll(),
    "is_standard_normal_if_it_says_so": CalledStandard(),
    "says_which_shapes_it_refuses": Speechless(),
    "log_prob_is_one_number_a_draw": Summed(),
    "log_prob_is_that_of_the_draws": OtherScale(),
    "density_integrates_to_one": WithoutConstant(),
}
