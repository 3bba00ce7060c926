"""Draws every picture in docs/images: `python docs/pictures.py [NAME ...]`, all of them by default.

`moons` trains the recipe of that name, which takes a minute, and `profile` profiles it. The others are what the page of
their name draws: the page's Python blocks are run, and the picture that they save is taken.
"""

import contextlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib.figure import Figure

import flowkit as fk

DOCS = Path(__file__).resolve().parent
IMAGES = DOCS / "images"
PAGES = ("flow-matching", "score-matching")
DATA, SAMPLES, NOISE = "#b5651d", "#1f4e8c", "#9a9a9a"
POINTS, WAYS, FRAME = 2000, 120, 1.7


def main(names: list[str]) -> None:
    """Draw the pictures of these names."""
    IMAGES.mkdir(exist_ok=True)
    for name in names or [*DRAWN, *PAGES]:
        with _empty_folder():
            picture = DRAWN[name]() if name in DRAWN else draw_page(name)
            shutil.copy(picture, IMAGES / picture.name)
        print(f"{IMAGES / picture.name}: {(IMAGES / picture.name).stat().st_size / 1000:.0f} kB")


def draw_page(name: str) -> Path:
    """Run the Python blocks of a page, which save a picture of its name."""
    text = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        exec(compile(block, f"{name}.md", "exec"), namespace)
    return Path(f"{name}.png")


def draw_moons() -> Path:
    """Data, samples, and the way from noise to data, side by side."""
    pipeline = fk.Pipeline.builder().recipe("moons").build().fit("run")
    states = pipeline.trajectory(POINTS)
    data = pipeline.data.draw(POINTS).z
    inside = (states[0] - data.mean(0)).abs().amax(1) < FRAME
    ways = states[:, inside][:, :WAYS]
    figure = Figure(figsize=(10.5, 3.2), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    left.scatter(*data.T, s=3, alpha=0.5, linewidths=0, color=DATA)
    middle.scatter(*states[-1].T, s=3, alpha=0.5, linewidths=0, color=SAMPLES)
    right.plot(*ways.permute(2, 0, 1), linewidth=0.6, alpha=0.5, color=SAMPLES)
    right.scatter(*ways[0].T, s=7, linewidths=0, color=NOISE, zorder=2)
    right.scatter(*ways[-1].T, s=9, linewidths=0, color=SAMPLES, zorder=3)
    (x, y) = data.mean(0).tolist()
    for ax, title in ((left, "data"), (middle, "samples"), (right, "from noise to data")):
        ax.set(title=title, aspect="equal", xticks=[], yticks=[])
        ax.set(xlim=(x - FRAME - 0.2, x + FRAME + 0.2), ylim=(y - FRAME - 0.1, y + FRAME + 0.1))
        ax.spines[:].set_color("#d0d0d0")
    figure.savefig("moons.png", dpi=100)
    return Path("moons.png")


def draw_profile() -> Path:
    """Where the time of a training step goes."""
    fk.profile(fk.Pipeline.builder().recipe("moons").build(), steps=100, folder=".")
    return Path("profile.png")


DRAWN = {"moons": draw_moons, "profile": draw_profile}


@contextlib.contextmanager
def _empty_folder() -> Iterator[None]:
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


if __name__ == "__main__":
    main(sys.argv[1:])
