"""The picture of a profile: the parts of a step, and the operators that take most of it."""

from pathlib import Path
from typing import TYPE_CHECKING

from .profile import Profile, milliseconds
from .ranges import REST

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_profile"]

_COLORS = ("#9db8d9", "#1f4e8c", "#ef8354", "#7a5195", "#4a7fc1", "#bc5090", "#f2b134", "#4f9d69", "#8c6d46")
_REST = "#c4c4c4"
_BARS = "#1f4e8c"
_WIDE = 0.06
"""The share of the whole from which on a part has room for its name."""


def draw_profile(profile: Profile, path: Path) -> Path:
    """Draw the parts as one bar with a legend, beside the operators."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.5, 4.4), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=[1.25, 1])
    _draw_parts(left, profile)
    _draw_operators(right, profile)
    figure.suptitle(
        f"{profile.what} on {profile.device}: {milliseconds(profile.seconds)} ms "
        f"({milliseconds(profile.profiled_seconds)} ms with the profiler, as shown)",
        fontsize=11,
    )
    figure.savefig(path, dpi=110)
    return path


def _draw_parts(ax: "Axes", profile: Profile) -> None:
    """One bar of all parts, and below it a row for each."""
    colors = dict(zip((part.name for part in profile.parts), _COLORS, strict=False)) | {REST: _REST}
    start = 0.0
    for row, part in enumerate(profile.parts):
        color, y = colors[part.name], -0.7 - 0.3 * row
        ax.barh(0, part.share, left=start, color=color, edgecolor="white", linewidth=0.8, height=0.5)
        if part.share >= _WIDE:
            ax.text(start + part.share / 2, 0.3, f"{part.share:.0%}", ha="center", va="bottom", fontsize=9)
        start += part.share
        ax.barh(y, 0.02, left=0.002, color=color, height=0.17)
        ax.text(0.04, y, part.name, va="center", fontsize=9.5)
        ax.text(0.42, y, f"{milliseconds(part.seconds)} ms", va="center", ha="right", fontsize=9.5)
        ax.text(0.54, y, f"{part.share:.1%}", va="center", ha="right", fontsize=9.5)
    ax.set_xlim(0, 1)
    ax.set_ylim(-3.6, 0.6)
    ax.set_axis_off()
    ax.set_title("parts", fontsize=10, loc="left")


def _draw_operators(ax: "Axes", profile: Profile) -> None:
    shown = profile.operators[::-1]
    bars = ax.barh(range(len(shown)), [operator.seconds for operator in shown], color=_BARS, height=0.62)
    ax.bar_label(bars, [milliseconds(operator.seconds) for operator in shown], padding=3, fontsize=8.5)
    ax.set_yticks(range(len(shown)), [_short(operator.name) for operator in shown], fontsize=8.5)
    ax.set_title("operators, own time in ms", fontsize=10, loc="left")
    ax.spines[["top", "right", "bottom"]].set_visible(False)
    ax.set_xticks([])
    ax.margins(x=0.16)


def _short(name: str) -> str:
    name = name.replace("autograd::engine::evaluate_function: ", "engine: ")
    name = name.removeprefix("aten::").removeprefix("torch::autograd::")
    return name if len(name) <= 30 else f"{name[:28]}…"
