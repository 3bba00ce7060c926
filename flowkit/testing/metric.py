"""What every metric must do, tried on points of three classes around 0, 4 and 8."""

import math
from concurrent.futures import ThreadPoolExecutor

from ..batch import Batch
from ..interfaces.metric import Metric
from .check import CheckList, NotApplicable, Subject, require
from .parts import labelled

__all__ = ["CHECKS"]

CHECKS = CheckList()


@CHECKS.add(hint="return a float, `float(distance)`, not a tensor")
def is_a_finite_number(subject: Subject) -> None:
    """Of finite samples it makes a finite Python number."""
    for n in (60, 33):
        value = _metric(subject).measure(labelled(subject, 0, n), labelled(subject, 1))
        require(isinstance(value, float), f"measure returns a {type(value).__name__}, not a float")
        require(math.isfinite(value), f"{n} samples against 60 give {value}")


@CHECKS.add(hint="set `higher_is_better`, or look for a bias that favours other samples over the data")
def is_best_for_the_data_themselves(subject: Subject) -> None:
    """The data against themselves are as good as anything."""
    metric, real = _metric(subject), labelled(subject, 1)
    itself, drawn = metric.measure(real, real), metric.measure(labelled(subject, 0), real)
    require(not _better(metric, drawn, itself), f"another draw gets {drawn:g}, better than {itself:g} of the data")


@CHECKS.add(hint="set `higher_is_better`, or look at the sign")
def is_worse_for_shifted_samples(subject: Subject) -> None:
    """Samples that lie off the data get a worse figure than a fresh draw."""
    metric, real, drawn = _metric(subject), labelled(subject, 1), labelled(subject, 0)
    fresh = metric.measure(drawn, real)
    shifted = metric.measure(Batch(drawn.z + 6, drawn.y), real)
    direction = "higher" if metric.higher_is_better else "lower"
    require(
        _better(metric, fresh, shifted),
        f"{direction} is better, and samples shifted by 6 get {shifted:g}, a fresh draw {fresh:g}",
    )


@CHECKS.add(hint="keep nothing between calls, and take random projections from a generator of fixed seed")
def gives_the_same_again(subject: Subject) -> None:
    """Measured again, after something else, two batches get the same figure."""
    metric, generated, real = _metric(subject), labelled(subject, 0), labelled(subject, 1)
    first = metric.measure(generated, real)
    metric.measure(labelled(subject, 2, 30), labelled(subject, 3, 90))
    second = metric.measure(generated, real)
    require(first == second, f"the same two batches give {first!r}, then {second!r}")


@CHECKS.add(hint="several pairs are compared at once: use local variables, not attributes")
def gives_the_same_in_threads(subject: Subject) -> None:
    """Figures of several pairs, measured at once, are those measured one by one."""
    metric = _metric(subject)
    pairs = [(labelled(subject, seed, 30 + 3 * seed), labelled(subject, 9)) for seed in range(8)]
    alone = [metric.measure(*pair) for pair in pairs]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda pair: metric.measure(*pair), pairs))
    require(alone == together, f"measured at once {together} instead of {alone}")


@CHECKS.add(hint="work on `batch.z.clone()`, or without methods that end in an underscore")
def leaves_the_batches_alone(subject: Subject) -> None:
    """Neither batch is changed."""
    generated, real = labelled(subject, 0), labelled(subject, 1)
    _metric(subject).measure(generated, real)
    for name, batch, was in (("generated", generated, labelled(subject, 0)), ("real", real, labelled(subject, 1))):
        require(bool((batch.z == was.z).all()), f"the {name} samples have been changed in place")


@CHECKS.add(hint="set the class attribute `label`: reports print it beside the figure")
def has_a_label(subject: Subject) -> None:
    """It says how a report calls it."""
    require(bool(subject.component.label.strip()), "its `label` is empty")


def _better(metric: Metric, first: float, second: float) -> bool:
    """Whether the first figure is better, by more than rounding."""
    by = first - second if metric.higher_is_better else second - first
    return by > 1e-6 * (1 + abs(second))


def _metric(subject: Subject) -> Metric:
    metric: Metric = subject.component
    if problems := metric.problems(3):
        raise NotApplicable(f"it does not go with data of three classes: {problems[0]}")
    return metric
