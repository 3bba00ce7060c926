"""A right metric, and one wrong in each way that a check of metrics looks for."""

import time

import torch

from flowkit import Metric


class Right(Metric):
    """The distance of the means."""

    label = "distance of the means"

    def measure(self, generated, real):
        return float((generated.z.mean(0) - real.z.mean(0)).norm())


class ATensor(Right):
    def measure(self, generated, real):
        return torch.tensor(super().measure(generated, real))


class Biased(Right):
    """An estimate without bias of a squared distance may be negative, but not for the data themselves alone."""

    def measure(self, generated, real):
        return super().measure(generated, real) + 5 * torch.equal(generated.z, real.z)


class UpsideDown(Right):
    higher_is_better = True


class Projected(Right):
    def measure(self, generated, real):
        direction = torch.randn(generated.z.shape[1:])
        return float(((generated.z.mean(0) - real.z.mean(0)) * direction).abs().sum())


class Remembering(Right):
    def measure(self, generated, real):
        self.mean = generated.z.mean(0)
        time.sleep(0.01)
        return float((self.mean - real.z.mean(0)).norm())


class InPlace(Right):
    def measure(self, generated, real):
        return float(generated.z.sub_(real.z.mean(0)).mean(0).norm())


class Nameless(Right):
    label = ""


RIGHT = [Right()]
MUTANTS = {
    "is_a_finite_number": ATensor(),
    "is_best_for_the_data_themselves": Biased(),
    "is_worse_for_shifted_samples": UpsideDown(),
    "gives_the_same_again": Projected(),
    "gives_the_same_in_threads": Remembering(),
    "leaves_the_batches_alone": InPlace(),
    "has_a_label": Nameless(),
}
