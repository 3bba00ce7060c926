"""The assignment problem, by compiled code and by SciPy: exact for costs of every kind, repeatable, and checked."""

import os
import subprocess
import sys
import threading

import pytest
import torch
from flowkit_couplings import assignment
from flowkit_couplings.assignment import assign, assign_points
from flowkit_couplings.cost import squared_distances
from oracles import seeded
from scipy.optimize import linear_sum_assignment

import flowkit as fk

SIZES = [*range(1, 20), 31, 64, 65, 100, 127, 257]


@pytest.fixture(params=["compiled", "scipy"])
def solver(request, monkeypatch):
    """Either way, each alone."""
    if request.param == "scipy":
        monkeypatch.setattr(assignment, "_compiled", lambda: None)
    else:
        pytest.importorskip("numba")
    return request.param


def distances(n, generator, d=2):
    x = torch.randn(n, d, generator=generator, dtype=torch.float64)
    z = 0.3 * torch.randn(n, d, generator=generator, dtype=torch.float64)
    return squared_distances(z + 2 * torch.randint(2, (n, 1), generator=generator), x)


def costs(n, seed):
    """Costs by name: usual ones, ties, unequal sizes, offsets, huge and tiny ones."""
    generator = seeded(seed)
    plain = distances(n, generator)
    yield "distances", plain
    for most in (1, 3, 1000):
        yield f"whole numbers up to {most}", torch.randint(most + 1, (n, n), generator=generator).double()
    yield "equal", torch.full((n, n), 3.7, dtype=torch.float64)
    yield "zero", torch.zeros(n, n, dtype=torch.float64)
    yield "of many sizes", torch.randn(n, n, generator=generator, dtype=torch.float64).mul(6).exp()
    yield "of all sizes", torch.randn(n, n, generator=generator, dtype=torch.float64).mul(30).exp()
    yield "outliers", torch.rand(n, n, generator=generator) + 1e9 * torch.eye(n, dtype=torch.float64)
    yield "row offsets", plain + 1e9 * torch.randn(n, 1, generator=generator, dtype=torch.float64)
    yield "little beside an offset", 1e9 + 1e-6 * torch.rand(n, n, generator=generator, dtype=torch.float64)
    yield "duplicates", plain[torch.randint(max(1, n // 5), (n,), generator=generator)]
    yield "negative", -plain
    yield "products", torch.outer(*2 * [torch.arange(n, dtype=torch.float64)])  # long shortest paths
    yield "the other memory order", plain.T
    for scale in (1e-300, 1e-60, 1e-30, 1e30, 1e60, 1e290):
        yield f"times {scale}", plain * scale
    yield "float32", plain.float()


def assert_optimal(cost, found):
    """As cheap as SciPy's, to rounding: relative to the largest number that is added, for each of n terms."""
    n, cost = len(cost), cost.double()
    assert torch.equal(found.sort().values, torch.arange(n))
    optimum = float(cost.numpy()[linear_sum_assignment(cost.numpy())].sum())
    assert float(cost[torch.arange(n), found].sum()) == pytest.approx(
        optimum, rel=0, abs=n * 1e-15 * float(cost.abs().max())
    )


@pytest.mark.parametrize("n", SIZES)
def test_the_permutation_is_optimal_for_costs_of_every_kind(n, solver):
    for seed in range(3):
        for name, cost in costs(n, seed):
            found = assign(cost)
            if cost.dtype == torch.float32 and solver == "scipy":  # which works in the type that it is given
                value, best = (float(cost[torch.arange(n), p].sum()) for p in (found, assign(cost.double())))
                assert value <= best + n * 1e-6 * float(cost.max())
            else:
                try:
                    assert_optimal(cost, found)
                except AssertionError as error:
                    raise AssertionError(f"{name}, seed {seed}") from error


@pytest.mark.parametrize("d", [1, 2, 3, 32, 33, 100])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_points_are_paired_at_the_least_cost_in_few_dimensions_and_in_many(dtype, scale, d, solver):
    for n in (1, 2, 3, 10, 77, 130):
        x0, z = (scale * torch.randn(n, d, generator=seeded(n + i), dtype=dtype) for i in range(2))
        cost = (z.double()[:, None] - x0.double()).square().sum(2)
        found = assign_points(x0[None], z[None])[0]
        n_, value = torch.arange(n), float(cost.max())
        optimum = float(cost.numpy()[linear_sum_assignment(cost.numpy())].sum())
        # The way through |x|^2 + |z|^2 - 2 x z rounds numbers of the size of its terms, d of them in each.
        assert float(cost[n_, found].sum()) == pytest.approx(optimum, rel=0, abs=n * (d + 4) * 1e-15 * value)


@pytest.mark.parametrize("shape", [(2,), (3, 4, 4)])
def test_batches_together_are_paired_as_each_by_itself(shape, solver):
    batches = [(torch.randn(50, *shape), torch.randn(50, *shape), torch.arange(50) + i) for i in range(3)]
    coupling = fk.create("coupling", "ot")
    for together, (x0, z, y) in zip(coupling.pair_each(batches), batches, strict=True):
        alone = coupling.pair(x0, z, y)
        assert all(torch.equal(a, b) for a, b in zip(together, alone, strict=True))
        assert not torch.equal(together[0], x0)


def test_points_far_from_the_origin_and_points_that_are_equal(solver):
    x0, z = (torch.randn(100, 2, generator=seeded(i), dtype=torch.float64) for i in range(2))
    assert torch.equal(assign_points(x0[None] + 1e6, z[None] + 1e6), assign_points(x0[None], z[None]))
    assert torch.equal(assign_points(x0[:1].expand(1, 100, 2), z[None])[0].sort().values, torch.arange(100))
    assert torch.equal(x0[assign_points(x0[None], x0[None])[0]], x0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("n", [1, 2, 100])
def test_costs_and_points_that_are_no_finite_numbers_are_refused_in_words(n, bad, solver):
    for where in {0, n // 2, n - 1}:
        cost, points = torch.rand(n, n, dtype=torch.float64), torch.randn(n, 2)
        cost[where, n - 1 - where] = points[where, 1] = bad
        with pytest.raises(fk.DataError, match="infinite or not numbers"):
            assign(cost)
        for x0, z in ((points, torch.randn(n, 2)), (torch.randn(n, 2), points)):
            with pytest.raises(fk.DataError, match="infinite or not numbers"):
                fk.create("coupling", "ot").pair(x0, z)
    with pytest.raises(fk.DataError, match="infinite or not numbers"):
        assign_points(1e200 * torch.randn(1, n, 2, dtype=torch.float64), torch.zeros(1, n, 2, dtype=torch.float64))


def test_the_costs_alone_decide_whatever_was_solved_before_and_in_which_thread(solver):
    ties = [torch.randint(3, (90, 90), generator=seeded(seed)).double() for seed in range(5)]
    first = [assign(cost) for cost in ties]
    found = {}

    def solve(name):
        found[name] = [assign(cost) for cost in reversed(ties)]

    together = [threading.Thread(target=solve, args=(name,)) for name in range(3)]
    for thread in together:
        thread.start()
    for thread in together:
        thread.join()
    for permutations in found.values():
        assert all(torch.equal(a, b) for a, b in zip(first, reversed(permutations), strict=True))


SCRIPT = """
import torch
from flowkit_couplings.assignment import assign_points
g = torch.Generator().manual_seed(0)
for _ in range(10):
    x0, z = (torch.randint(3, (90, 2), generator=g) for _ in range(2))
    print(assign_points(x0[None], z[None])[0].tolist())
"""


def printed(script, **environment):
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | environment, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.slow
def test_what_is_compiled_again_finds_the_same_as_what_was_kept_and_needs_no_folder_to_keep_it(tmp_path):
    """Of points with many optima, where a sum in another order would find another one."""
    pytest.importorskip("numba")
    kept = {"NUMBA_CACHE_DIR": str(tmp_path / "kept")}
    first = printed(SCRIPT, **kept)
    assert list((tmp_path / "kept").rglob("*permutation*"))
    assert printed(SCRIPT, **kept) == first
    (tmp_path / "file").touch()
    nowhere = {"NUMBA_CACHE_DIR": str(tmp_path / "file" / "in")}
    nowhere |= {"NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator"}  # beside the source it is not kept either
    assert printed(SCRIPT, **nowhere) == first


def test_numba_is_imported_when_a_batch_is_paired_and_not_before():
    pytest.importorskip("numba")
    script = """
import sys, torch, flowkit as fk
coupling = fk.create("coupling", "ot")
print("numba" in sys.modules)
coupling.pair(torch.randn(4, 2), torch.randn(4, 2))
print("numba" in sys.modules)
"""
    assert printed(script).split() == ["False", "True"]


def test_without_numba_the_pairs_are_the_same():
    """Where one permutation alone is optimal."""
    pytest.importorskip("numba")
    script = """
import sys
sys.modules["numba"] = None
import torch, flowkit as fk
g = torch.Generator().manual_seed(0)
for n in (1, 2, 50, 200):
    x0, z = (torch.randn(n, 2, generator=g) for _ in range(2))
    print(fk.create("coupling", "ot").pairing(x0, z)[0].tolist())
"""
    generator = seeded()
    for n, without in zip((1, 2, 50, 200), printed(script).splitlines(), strict=True):
        x0, z = (torch.randn(n, 2, generator=generator) for _ in range(2))
        assert str(fk.create("coupling", "ot").pairing(x0, z)[0].tolist()) == without
    assert "flowkit_couplings.augmenting" in sys.modules  # here the compiled solver found them
