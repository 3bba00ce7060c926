"""The pictures of a run: data beside samples, the loss, and the way from noise to data."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .export import to_pixels
from .interfaces.data import DataSpec
from .pipeline.run import RunFolder

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .pipeline.pipeline import Pipeline

__all__ = ["draw_loss", "draw_run", "draw_samples", "draw_trajectory"]

_POINTS = 2000
_IMAGES = 100
_FRAMES = 40


def draw_run(pipeline: "Pipeline", folder: str | Path) -> list[Path]:
    """Draw every picture of a run into its folder; the files that were written."""
    run = RunFolder(folder)
    return [
        draw_samples(pipeline, run.path / "samples.png"),
        draw_loss(run, run.path / "loss.png"),
        draw_trajectory(pipeline, run.path / "trajectory.gif"),
    ]


def draw_samples(pipeline: "Pipeline", path: Path) -> Path:
    """Data beside samples of the same labels."""
    spec = pipeline.spec
    n = _IMAGES if _is_image(spec) else _POINTS
    data, labels = _data_and_labels(pipeline, n)
    panels = {"data": data, "samples": pipeline.sample(n, labels)}
    with _figure(path, columns=2) as axes:
        limits = _limits(data, spec)
        for ax, (title, x) in zip(axes, panels.items(), strict=True):
            _draw(ax, x, spec, limits)
            ax.set_title(title)
    return path


def draw_loss(run: RunFolder, path: Path) -> Path:
    """The loss over the steps, as it was logged and smoothed; beside it what metrics saw amid training, if any did."""
    from scipy.ndimage import gaussian_filter1d

    lines = [line for line in run.metrics() if line["loss"] is not None]
    steps, losses = [line["step"] for line in lines], [line["loss"] for line in lines]
    smoothed = gaussian_filter1d(losses, sigma=max(1.0, len(losses) / 50), mode="nearest") if losses else []
    measured = run.measurements()
    with _figure(path, columns=2 if measured else 1, size=(10 if measured else 6, 3.5)) as (ax, *beside):
        for other in beside:
            _draw_measurements(other, measured)
        ax.plot(steps, losses, color="#9db8d9", linewidth=1, marker="o" if len(steps) == 1 else None, label="logged")
        ax.plot(steps, smoothed, color="#1f4e8c", linewidth=1.8, label="smoothed")
        ax.set_xlabel("step")
        ax.set_ylabel("loss")
        ax.legend(frameon=False)
        ax.spines[["top", "right"]].set_visible(False)
    return path


def _draw_measurements(ax: "Axes", measured: Sequence[Mapping[str, Any]]) -> None:
    """Each metric over the steps, in multiples of its floor."""
    for label in dict.fromkeys(label for line in measured for label in line["metrics"]):
        seen = [(line["step"], line["metrics"].get(label)) for line in measured]
        known = [(step, one["value"] / one["floor"]) for step, one in seen if one and one["value"] and one["floor"]]
        if known:
            ax.plot(*zip(*known, strict=True), marker="o", markersize=3, label=label)
    ax.axhline(1, color="#888888", linewidth=1, linestyle="--")
    ax.set_xlabel("step")
    ax.set_ylabel("times the floor")
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)


def draw_trajectory(pipeline: "Pipeline", path: Path) -> Path:
    """The way of samples from noise (t = 0) to data (t = 1), as an animation."""
    from PIL import Image

    spec = pipeline.spec
    n = _IMAGES if _is_image(spec) else _POINTS
    data, labels = _data_and_labels(pipeline, n)
    states, times = pipeline.trajectory(n, labels), pipeline.times()
    shown = sorted({round(i) for i in np.linspace(0, len(times) - 1, _FRAMES)})
    limits = _limits(torch.cat([data, states[0]]), spec)
    frames = []
    for i in shown:
        with _figure(None, columns=1, size=(4, 4.3)) as (ax,):
            _draw(ax, states[i], spec, limits)
            ax.set_title(f"t = {times[i]:.2f}")
            canvas = ax.figure.canvas
            canvas.draw()
            frames.append(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("P"))  # type: ignore[attr-defined]
    pause = [60] * (len(frames) - 1) + [1500]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=pause, loop=0)
    return path


@contextmanager
def _figure(path: Path | None, columns: int, size: tuple[float, float] | None = None) -> Iterator[list["Axes"]]:
    """A figure drawn without a display and without matplotlib's global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size or (4.2 * columns, 4.3), layout="constrained")
    FigureCanvasAgg(figure)
    yield list(figure.subplots(1, columns, squeeze=False)[0])
    if path:
        figure.savefig(path, dpi=110, bbox_inches="tight")


def _draw(ax: "Axes", x: Tensor, spec: DataSpec, limits: Any) -> None:
    if _is_image(spec):
        ax.imshow(_tiled(to_pixels(x, spec)), cmap="gray", interpolation="nearest")
        ax.set_axis_off()
        return
    points = x.flatten(1)
    (x_low, y_low), (x_high, y_high) = limits
    if points.shape[1] == 1:
        ax.hist(points[:, 0].numpy(), bins=60, range=(x_low, x_high), density=True, color="#1f4e8c", alpha=0.7)
        return
    ax.scatter(points[:, 0], points[:, -1], s=3, alpha=0.5, color="#1f4e8c", linewidths=0)
    ax.set_xlim(x_low, x_high)
    ax.set_ylim(y_low, y_high)
    if points.shape[1] == 2:
        ax.set_aspect("equal")
    else:
        ax.set_xlabel("first feature")
        ax.set_ylabel("last feature")


def _limits(x: Tensor, spec: DataSpec) -> tuple[tuple[float, float], tuple[float, float]]:
    """What a plot of points shows: all but the outermost, with a margin."""
    points = x.flatten(1)[:, [0, -1]].float()  # data of whole numbers too
    low, high = points.quantile(0.002, dim=0), points.quantile(0.998, dim=0)
    margin = 0.12 * (high - low).clamp(min=1e-6)
    (a, b), (c, d) = (low - margin).tolist(), (high + margin).tolist()
    return (a, b), (c, d)


def _data_and_labels(pipeline: "Pipeline", n: int) -> tuple[Tensor, Tensor | None]:
    """Data to show, sorted by their classes, and the labels that samples beside them take; None without classes."""
    batch = pipeline.data.draw(n, torch.Generator().manual_seed(0))
    if pipeline.spec.num_classes is None or not isinstance(batch.y, Tensor):
        return batch.z, None
    order = batch.y.argsort(stable=True)
    return batch.z[order], batch.y[order]


def _tiled(pixels: np.ndarray) -> np.ndarray:
    """Images of shape (n, height, width, channels) in a square, row by row."""
    side = int(np.ceil(np.sqrt(len(pixels))))
    n, height, width, channels = pixels.shape
    padded = np.zeros((side * side, height + 1, width + 1, channels), np.uint8)
    padded[:n, :height, :width] = pixels
    rows = padded.reshape(side, side, height + 1, width + 1, channels).swapaxes(1, 2)
    return rows.reshape(side * (height + 1), side * (width + 1), channels).squeeze()


def _is_image(spec: DataSpec) -> bool:
    return spec.image_range is not None and len(spec.event_shape) == 3
