"""A well-behaved component (a source), and one that misbehaves in each way that a check of manners looks for."""

import math
import threading
import time

import torch
from checks import mutants_source


class Right(mutants_source.Right):
    """N(0, scale^2 I)."""

    def __init__(self, scale: float = 2.0) -> None:
        self.scale = scale

    def sample(self, n, event_shape, generator=None, device="cpu", dtype=torch.float32):
        return self.scale * torch.randn((n, *event_shape), generator=generator, device=device, dtype=dtype)

    def log_prob(self, x):
        return super().log_prob(2 * x / self.scale) + x[0].numel() * math.log(2 / self.scale)


class WithoutWords(Right):
    pass


class Forgetful(Right):
    """Keeps its setting under another name."""

    def __init__(self, scale: float = 2.0, shift: float = 0.0) -> None:
        super().__init__(scale)
        self.offset = shift


class Doubling(Right):
    """Keeps something else under the name of its setting."""

    def __init__(self, scale: float = 2.0) -> None:
        super().__init__(2 * scale)


class Slow(Right):
    """Takes its time."""

    def __init__(self, scale: float = 2.0) -> None:
        super().__init__(scale)
        time.sleep(1.05)


class SeedingFirst(Right):
    """Seeds torch when it is made."""

    def __init__(self, scale: float = 2.0) -> None:
        super().__init__(scale)
        torch.manual_seed(0)


class WithLambda(Right):
    """Cannot be pickled."""

    def __init__(self, scale: float = 2.0) -> None:
        super().__init__(scale)
        self.function = lambda x: x


class WithLock(Right):
    """Cannot be copied."""

    def __init__(self, scale: float = 2.0) -> None:
        super().__init__(scale)
        self.lock = threading.Lock()


class Seeding(Right):
    """Seeds torch."""

    def sample(self, n, event_shape, generator=None, device="cpu", dtype=torch.float32):
        torch.manual_seed(generator.initial_seed())
        return super().sample(n, event_shape, None, device, dtype)


class Global(Right):
    """Draws from torch's own generator."""

    def sample(self, n, event_shape, generator=None, device="cpu", dtype=torch.float32):
        return super().sample(n, event_shape, None, device, dtype)


RIGHT = [Right(), Right(3.0)]
MUTANTS = {
    "has_a_docstring": WithoutWords(),
    "keeps_its_settings": Forgetful(),
    "is_built_again_from_its_settings": Doubling(),
    "is_built_quickly": Slow(),
    "is_built_without_the_global_random_state": SeedingFirst(),
    "survives_pickling": WithLambda(),
    "survives_copying": WithLock(),
    "leaves_the_global_random_state_alone": Seeding(),
    "gives_the_same_for_the_same_seed": Global(),
}
