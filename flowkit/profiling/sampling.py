"""Where the time of sampling goes."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..interfaces.predictor import Predictor
from ..random import block_size
from ..sampling import Cost
from ..threads import suitable_threads
from .profile import Profile, check_count, new_profiler, read_profile, write_profile
from .ranges import Marked, Marker

if TYPE_CHECKING:
    from ..pipeline.pipeline import Pipeline

__all__ = ["profile_sampling"]

SOURCE, MODEL, GUIDANCE, INTEGRATOR = PARTS = ("source", "model", "guidance", "integrator")


def profile_sampling(pipeline: "Pipeline", batches: int = 1, folder: str | Path | None = None) -> Profile:
    """Draw some batches of samples, and see where their time goes.

    Arguments:
        pipeline: What is sampled; untrained weights take as long as trained ones, except for adaptive integrators.
        batches: How many batches of `sampling.batch_size` samples are profiled.
        folder: Where `trace.json` and `profile.png` go; nothing is written by default.

    Examples:
        >>> print(profile_sampling(pipeline))
    """
    check_count("batches", batches)
    n = pipeline.config["sampling"]["batch_size"]
    marker, profiler = Marker(pipeline.device), new_profiler(pipeline.device, batches, warm_up=1)
    few = block_size(math.prod(pipeline.spec.event_shape))  # to warm up
    pipeline.sample(few)
    if pipeline.config["sampling"]["compile"]:
        pipeline.sample(n)  # batches of another size are compiled for anew
    plain, cost = [], Cost()
    for _ in range(batches):
        start = time.perf_counter()
        pipeline.sample(n, cost=cost)  # ends on the CPU, and so waits for the device
        plain.append(time.perf_counter() - start)
    with _marked(pipeline, marker), profiler:
        for size in (few, *[n] * batches):  # the first is the warm-up of the profiler
            pipeline.sample(size)
            profiler.step()
    what, evaluations = f"a batch of {n} samples", cost.evaluations / batches
    with suitable_threads(pipeline.model):
        found = read_profile(profiler, what, PARTS, plain, pipeline.device, evaluations, torch.get_num_threads())
    if folder is not None:
        write_profile(found, profiler, Path(folder))
    return found


@contextmanager
def _marked(pipeline: "Pipeline", marker: Marker) -> Iterator[None]:
    """Put a range around each thing that sampling calls, and take it off again."""
    source, sampler, model = pipeline.source, pipeline.sampler, pipeline.sampled_model()
    integrator: Any = Marked(sampler.integrator, marker, INTEGRATOR, "integrate")
    guidance: Any = None
    if sampler.guidance is not None:
        guide = sampler.guidance.guide
        guidance = Marked(sampler.guidance, marker, GUIDANCE)

        def marked_guide(unguided: Predictor) -> Any:
            return Marked(guide(unguided), marker, GUIDANCE, "predict")

        guidance.guide = marked_guide
    pipeline.source = Marked(source, marker, SOURCE, "sample")  # type: ignore[assignment]
    pipeline.sampler = replace(sampler, integrator=integrator, guidance=guidance)
    model.predict = marker.marked(MODEL, model.predict)  # type: ignore[method-assign]
    try:
        yield
    finally:
        pipeline.source, pipeline.sampler = source, sampler
        del model.predict
