"""Time grids: exact ends, growing, and where their steps are short."""

import math

import pytest
import torch
from flowkit_gaussian.path import GaussianPath
from flowkit_gaussian.schedules import CondOT, Cosine, VariancePreserving
from flowkit_ode.euler import Euler
from flowkit_ode.explicit import ExplicitGrid
from flowkit_ode.grids import CosineGrid, QuadraticGrid, ShiftedGrid, UniformGrid
from flowkit_ode.noise_levels import KarrasGrid, LogSNRGrid
from oracles import Wide, mixture

import flowkit as fk
from flowkit import Sampler, UnsupportedError

GRIDS = {
    "uniform": UniformGrid,
    "quadratic": QuadraticGrid,
    "cosine": CosineGrid,
    "shifted": ShiftedGrid,
    "karras": KarrasGrid,
    "log_snr": LogSNRGrid,
}
NOISE_LEVELS = {"karras": KarrasGrid, "log_snr": LogSNRGrid}
SCHEDULES = {"condot": CondOT(), "cosine": Cosine(), "vp": VariancePreserving(), "wide": Wide()}
every_grid = pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)


class Straight(fk.Path):
    """A path without a schedule."""

    def sample(self, x0, z, t, generator=None):
        return torch.lerp(x0, z, fk.expand_time(t, z))

    def velocity(self, x, x0, z, t):
        return z - x0


def sigma(path, t):
    return path.schedule.beta(t) / path.schedule.alpha(t)


@every_grid
@every_schedule
@pytest.mark.parametrize(("start", "end"), [(0.0, 1.0), (0.001, 1.0), (0.0, 0.999), (0.3, 0.7)])
def test_a_grid_has_its_ends_exactly_and_grows(grid, schedule, start, end):
    for steps in (1, 2, 7, 49, 333):
        times = grid(start=start, end=end).times(steps, GaussianPath(schedule))
        assert times.shape == (steps + 1,)
        assert times.dtype == torch.float64
        assert (times[0], times[-1]) == (start, end)
        assert (times.diff() > 0).all()


@pytest.mark.parametrize("steps", [1, 7, 333])
def test_uniform_steps_are_equal(steps):
    times = UniformGrid(0.1, 0.9).times(steps)
    torch.testing.assert_close(times.diff(), torch.full((steps,), 0.8 / steps, dtype=torch.float64))


@pytest.mark.parametrize(
    ("grid", "middle"),
    [
        (QuadraticGrid(), 1 - 0.25),
        (CosineGrid(), 1 - math.cos(math.pi / 4)),
        (ShiftedGrid(3.0), 1 - 3 * 0.5 / (1 + 2 * 0.5)),
        (ShiftedGrid(1.0), 0.5),
    ],
)
def test_half_the_steps_of_a_warped_grid_by_hand(grid, middle):
    assert grid.times(10)[5].item() == pytest.approx(middle, rel=1e-14)


def test_a_shift_and_its_inverse_mirror_each_other():
    there, back = ShiftedGrid(3.0).times(9), ShiftedGrid(1 / 3).times(9)
    torch.testing.assert_close(there, 1 - back.flip(0))


@every_schedule
def test_the_noise_levels_of_karras_are_those_of_the_paper(schedule):
    """sigma_i of equation 5 for 0 < i < N; sigma_max is at most that of t = 0, which is 151 for vp. Bisection gives t
    to 2^-52, hence sigma to that divided by the least of 1 - t, 0.002 (0.001 of vp, squared).
    """
    path, n = GaussianPath(schedule), 12
    times = KarrasGrid().times(n, path)
    i = torch.arange(1, n, dtype=torch.float64)
    expected = (80 ** (1 / 7) + i / (n - 1) * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    torch.testing.assert_close(sigma(path, times[1:-1]), expected, rtol=1e-9, atol=0)


@every_schedule
def test_the_log_snr_grows_in_equal_steps(schedule):
    path = GaussianPath(schedule)
    steps = path.schedule.log_snr(LogSNRGrid().times(12, path)[1:-1]).diff()
    torch.testing.assert_close(steps, torch.full_like(steps, 2 * math.log(80 / 0.002) / 11), rtol=1e-9, atol=0)


@pytest.mark.parametrize("grid", NOISE_LEVELS.values(), ids=NOISE_LEVELS)
def test_a_ladder_ends_where_the_path_does(grid):
    """Stopping at t = 0.5 of straight lines, sigma = 1, there is no step to sigma_min; the last is like the others."""
    path = GaussianPath(CondOT())
    times = grid(end=0.5).times(400, path)
    assert sigma(path, times[-1]) == 1
    assert float(times.diff()[-1] / times.diff()[-2]) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("grid", NOISE_LEVELS.values(), ids=NOISE_LEVELS)
def test_a_path_without_noise_levels_is_refused_when_it_is_built(grid):
    name, path = grid.__name__, Straight()
    assert grid().problems(GaussianPath(CondOT())) == []
    assert f"{name} needs a path with a schedule; Straight has none" in grid().problems(path)[0]
    assert grid().problems(path) == Sampler(Euler(), grid()).problems(mixture(), path)
    assert "no noise levels within" in grid(start=0.9999).problems(GaussianPath(CondOT()))[0]
    with pytest.raises(UnsupportedError, match="Straight has none"):
        grid().times(5, path)
    with pytest.raises(UnsupportedError, match="needs a path"):
        grid().times(5)


@pytest.mark.parametrize("grid", [UniformGrid(), QuadraticGrid(), CosineGrid(), ShiftedGrid()], ids=type)
def test_other_grids_go_with_any_path(grid):
    assert grid.problems(Straight()) == []
    assert len(grid.times(5, Straight())) == 6


@every_grid
@pytest.mark.parametrize(("start", "end"), [(0.5, 0.5), (0.8, 0.2)])
def test_a_grid_that_does_not_go_forward_is_refused(grid, start, end):
    with pytest.raises(ValueError, match=f"start must be less than end = {end}, got {start}"):
        grid(start=start, end=end)


@pytest.mark.parametrize("grid", NOISE_LEVELS.values(), ids=NOISE_LEVELS)
def test_noise_levels_that_do_not_fall_are_refused(grid):
    with pytest.raises(ValueError, match=r"sigma_min must be less than sigma_max = 0.5, got 0.5"):
        grid(sigma_min=0.5, sigma_max=0.5)


def test_times_written_out_are_taken_as_they_are():
    times = ExplicitGrid([0.0, 0.3, 1.0]).times(50)
    assert times.tolist() == [0.0, 0.3, 1.0]
    assert times.dtype == torch.float64


@pytest.mark.parametrize("values", [[], [0.5], [0.0, 0.5, 0.5], [0.5, 0.2], [-0.1, 1.0], [0.0, 1.1], [0.0, math.nan]])
def test_times_that_are_no_grid_are_refused(values):
    with pytest.raises(ValueError, match="two or more strictly increasing times"):
        ExplicitGrid(values)
