"""Couplings: marginals, optimality against POT, conditions, and where the score is lost."""

import math
import warnings

import numpy as np
import ot
import pytest
import torch
from flowkit_couplings.assignment import assign
from flowkit_couplings.conditional import ConditionalOptimalCoupling
from flowkit_couplings.cost import squared_distances
from flowkit_couplings.entropic import log_plan
from flowkit_couplings.optimal import OptimalCoupling
from flowkit_couplings.sinkhorn import SinkhornCoupling, UnbalancedCoupling
from oracles import LIMIT, errors_off, seeded
from scipy.optimize import linear_sum_assignment
from scipy.stats import kstest

import flowkit as fk

PERMUTATIONS = ["ot", "conditional_ot"]
EVERY = ["independent", "given", *PERMUTATIONS, "sinkhorn", "unbalanced"]
SHAPES = [(2,), (192,), (3, 4, 4)]


def two_sets(n=64, shape=(2,), seed=0, dtype=torch.float32):
    """Noise, and data in two clusters, with their labels."""
    generator = seeded(seed)
    x0 = torch.randn(n, *shape, generator=generator, dtype=dtype)
    y = torch.randint(2, (n,), generator=generator)
    far = (2 * y - 1).reshape(-1, *(1,) * len(shape))
    return x0, 0.3 * torch.randn(n, *shape, generator=generator, dtype=dtype) + far, y


def uniform(n):
    return np.full(n, 1 / n)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", EVERY)
def test_pairs_are_those_of_the_pairing_and_keep_shape_type_and_condition(name, shape):
    x0, z, y = two_sets(shape=shape)
    coupling = fk.create("coupling", name)
    i, j = coupling.pairing(x0, z, y, seeded(1))
    paired_x0, paired_z, paired_y = coupling.pair(x0, z, y, seeded(1))
    assert i.dtype == j.dtype == torch.int64
    assert torch.equal(paired_x0, x0[i])
    assert torch.equal(paired_z, z[j])
    assert torch.equal(paired_y, y[j])
    assert paired_x0.dtype == z.dtype
    both = coupling.pair(x0, z, {"a": y, "b": z.flatten(1)[:, :1]}, seeded(1))
    assert torch.equal(both[2]["b"], both[1].flatten(1)[:, :1])


@pytest.mark.parametrize("n", [1, 2, 63, 200])
@pytest.mark.parametrize("name", PERMUTATIONS)
def test_every_point_is_used_exactly_once(name, n):
    x0, z, y = two_sets(n)
    i, j = fk.create("coupling", name).pairing(x0, z, y)
    assert torch.equal(i.sort().values, torch.arange(n))
    assert torch.equal(j, torch.arange(n))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n", [20, 200])
def test_ot_costs_what_pots_exact_solver_finds(n, shape, dtype):
    x0, z, _ = two_sets(n, shape)
    x0, z = x0.to(dtype), z.to(dtype)
    cost = (x0.double().flatten(1)[:, None] - z.double().flatten(1)).square().sum(2)
    i, j = OptimalCoupling().pairing(x0, z)
    optimum = ot.emd2(uniform(n), uniform(n), cost.numpy(), numItermax=10**6)
    assert float(cost[i, j].mean()) == pytest.approx(optimum, rel=1e-10)  # float64, sums of up to 4e4 terms


@pytest.mark.parametrize("seed", range(5))
def test_the_start_of_the_solver_does_not_change_the_optimum(seed):
    """Costs with ties, outliers, and of very unequal size: the duals that are taken off may then be bad or infinite."""
    generator = seeded(seed)
    n = 100
    for cost in (
        torch.randint(4, (n, n), generator=generator).double(),
        torch.randn(n, n, generator=generator, dtype=torch.float64).mul(6).exp(),
        torch.rand(n, n, generator=generator, dtype=torch.float64) + 1e9 * torch.eye(n, dtype=torch.float64),
        torch.zeros(n, n, dtype=torch.float64),
    ):
        found = assign(cost)
        assert torch.equal(found.sort().values, torch.arange(n))
        optimum = float(cost.numpy()[linear_sum_assignment(cost.numpy())].sum())
        # Rounding is relative to the largest numbers that are added, for each of n terms.
        assert float(cost[torch.arange(n), found].sum()) == pytest.approx(optimum, abs=n * 1e-15 * float(cost.max()))


def test_the_costs_alone_decide_which_of_several_optima_is_found():
    """Of points that occur many times, whatever was solved before."""
    x0, z, _ = two_sets(200)
    z = z[:10].repeat(20, 1)
    first = OptimalCoupling().pairing(x0, z)[0]
    OptimalCoupling().pairing(*two_sets(200, seed=1)[:2])
    assert torch.equal(OptimalCoupling().pairing(x0, z)[0], first)


def test_ot_costs_no_more_than_torchcfms_plan_of_the_same_batch():
    peer = pytest.importorskip("torchcfm.optimal_transport")
    x0, z, _ = two_sets(128)
    ours, data, _ = OptimalCoupling().pair(x0, z)
    plan = torch.from_numpy(peer.OTPlanSampler("exact").get_map(x0, z))
    theirs = float((plan * squared_distances(x0, z)).sum())
    # torchcfm's costs are float32 ones, so its plan is optimal to about 1e-6 of the cost.
    assert float((ours - data).double().square().sum(1).mean()) == pytest.approx(theirs, rel=1e-5)


def test_distances_keep_their_digits_far_from_the_origin():
    x0, z, _ = two_sets(dtype=torch.float64)
    # Points at 1e6 carry errors of 1e-10 themselves; without the shift |x|^2 = 1e12 would add 1e-4.
    torch.testing.assert_close(squared_distances(x0 + 1e6, z + 1e6), squared_distances(x0, z), rtol=0, atol=1e-8)


@pytest.mark.parametrize("epsilon", [0.05, 0.5, 5.0])
def test_the_entropic_plan_is_pots(epsilon):
    x0, z, _ = two_sets(40, dtype=torch.float64)
    cost = squared_distances(x0, z)
    plan, converged = log_plan(cost, epsilon, 20_000, tolerance=1e-9)
    assert converged
    theirs = ot.sinkhorn(
        uniform(40), uniform(40), cost.numpy(), epsilon, method="sinkhorn_log", numItermax=20_000, stopThr=1e-12
    )
    np.testing.assert_allclose(plan.exp().numpy(), theirs, atol=1e-9)  # the tolerance of either


@pytest.mark.parametrize("penalty", [0.3, 3.0])
def test_the_unbalanced_plan_is_pots(penalty):
    x0, z, _ = two_sets(40, dtype=torch.float64)
    cost = squared_distances(x0, z)
    plan, converged = log_plan(cost, 0.2, 20_000, tolerance=1e-10, penalty=penalty)
    assert converged
    theirs = ot.unbalanced.sinkhorn_unbalanced(
        uniform(40), uniform(40), cost.numpy(), 0.2, penalty, reg_type="kl", numItermax=20_000, stopThr=1e-12
    )
    np.testing.assert_allclose(plan.exp().numpy(), theirs, atol=1e-9)


def test_sinkhorn_draws_x0_from_the_plan():
    x0, z, _ = two_sets(10)
    coupling = SinkhornCoupling(regularization=1.0)
    plan = log_plan(squared_distances(z, x0), 1.0, 1000)[0].softmax(1)
    generator, n = seeded(), 500
    drawn = torch.stack([coupling.pairing(x0, z, None, generator)[0] for _ in range(n)])
    seen = torch.nn.functional.one_hot(drawn, 10).double()
    error = (plan * (1 - plan) / n).sqrt() + 1 / n
    assert bool(((seen.mean(0) - plan).abs() < LIMIT * error).all())


def test_sinkhorn_with_tiny_regularization_in_many_dimensions_is_ot():
    """exp(-cost / epsilon) is 0 for every pair, even in float64: costs are near 200, epsilon is 0.02."""
    x0, z, _ = two_sets(64, (192,))
    assert float(torch.exp(-squared_distances(z, x0) / 0.02).max()) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is far from converged, and says so
        i, _ = SinkhornCoupling(0.02, iterations=200).pairing(x0, z, None, seeded())
    matches = (i == OptimalCoupling().pairing(x0, z)[0]).float().mean()
    assert matches > 0.8  # a uniform plan would give 1/64


def test_an_unconverged_plan_says_so():
    x0, z, _ = two_sets()
    with pytest.warns(fk.FlowkitWarning, match=r"'sinkhorn': 1 iterations do not .* raise coupling.regularization"):
        SinkhornCoupling(0.001, iterations=1).pairing(x0, z, None, seeded())
    with pytest.warns(fk.FlowkitWarning, match="'unbalanced': 1 iterations"):
        UnbalancedCoupling(0.001, iterations=1).pairing(x0, z, None, seeded())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SinkhornCoupling().pairing(x0, z, None, seeded())
        UnbalancedCoupling().pairing(x0, z, None, seeded())


def test_unbalanced_leaves_an_outlier_out_and_sinkhorn_does_not():
    x0, z, _ = two_sets()
    z[5] = 100.0
    assert 5 in SinkhornCoupling().pairing(x0, z, None, seeded())[1]
    assert 5 not in UnbalancedCoupling(penalty=1.0).pairing(x0, z, None, seeded())[1]


@pytest.mark.parametrize("name", ["ot", "conditional_ot", "sinkhorn"])
def test_the_marginals_of_many_batches_are_those_of_the_source_and_of_the_data(name):
    """A permutation keeps them by itself. For the entropic plan the means of f(x0) over batches are compared."""
    coupling = fk.create("coupling", name)
    generator, means = seeded(), []

    def features(x):
        return torch.cat([x, x.square()], 1).double().mean(0)

    for seed in range(100):
        x0, z, y = two_sets(32, seed=seed)
        ours, data, _ = coupling.pair(x0, z, y, generator)
        means.append(torch.cat([features(ours) - features(x0), features(data) - features(z)]))
    off = torch.stack(means)
    if name == "sinkhorn":
        assert errors_off(off[:, :4], 0) < LIMIT
        assert bool((off[:, 4:] == 0).all())
    else:
        torch.testing.assert_close(off, torch.zeros_like(off), rtol=0, atol=1e-6)  # float32 sums in another order


@pytest.mark.parametrize("name", EVERY)
def test_the_generator_decides_everything_and_global_states_are_untouched(name):
    x0, z, y = two_sets()
    coupling = fk.create("coupling", name)
    torch.manual_seed(0)
    np.random.seed(0)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = coupling.pairing(x0, z, y, seeded(7))
    torch.manual_seed(1)
    np.random.seed(1)
    again = coupling.pairing(x0, z, y, seeded(7))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    torch.manual_seed(0)
    np.random.seed(0)
    coupling.pairing(x0, z, y, seeded(8))
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == numpy_before).all()


def test_conditional_ot_never_exchanges_x0_between_labels_and_is_optimal_within():
    x0, z, y = two_sets(200)
    y[:7] = -1  # without a condition
    i, _ = ConditionalOptimalCoupling().pairing(x0, z, y)
    assert torch.equal(y[i], y)
    for label in (-1, 0, 1):
        group = (y == label).nonzero()[:, 0]
        alone, _ = OptimalCoupling().pairing(x0[group], z[group])
        assert torch.equal(i[group], group[alone])
    second = torch.arange(200) % 3
    i, _ = ConditionalOptimalCoupling().pairing(x0, z, {"a": y, "b": second})
    assert torch.equal(y[i], y)
    assert torch.equal(second[i], second)


@pytest.mark.parametrize("kind", ["labels", "numbers"])
def test_conditional_ot_keeps_x0_independent_of_the_condition_and_plain_ot_does_not(kind):
    """The condition is the side the data point is on, or where it is. By the Kolmogorov-Smirnov test, x0 given a
    right-hand condition is N(0, 1) for the one (exactly for labels, nearly for numbers), and for plain ot it is not.
    """

    def of_the_right(coupling):
        kept = []
        for seed in range(20):
            x0, z, y = two_sets(128, seed=seed)
            right = y == 1
            x0, *_ = coupling.pair(x0, z, y if kind == "labels" else z[:, :1], seeded(seed))
            kept.append(x0[right, 0])
        return torch.cat(kept).double().numpy()

    plain, aware = (kstest(of_the_right(c), "norm") for c in (OptimalCoupling(), ConditionalOptimalCoupling()))
    assert plain.pvalue < 1e-30
    assert aware.pvalue > 0.01
    assert plain.statistic > 0.2


def test_fewer_candidates_skew_less_and_cost_more():
    x0, z, _ = two_sets(256)
    y = z[:, :1]
    skews, costs = [], []
    for candidates in (0.3, 0.03, 0.003):
        ours, data, _ = ConditionalOptimalCoupling(candidates).pair(x0, z, y)
        skews.append(abs(float(torch.corrcoef(torch.stack([ours[:, 0], data[:, 0]]))[0, 1])))
        costs.append(float((ours - data).square().sum(1).mean()))
    assert skews[0] > skews[1] > skews[2]
    assert costs[0] < costs[1] < costs[2] < float((x0 - z).square().sum(1).mean())


def test_equal_numbers_are_exchanged_like_labels_and_a_missing_one_stands_for_itself():
    x0, z, y = two_sets(100)
    numbers = y.float()
    numbers[:10] = math.nan
    i, _ = ConditionalOptimalCoupling(candidates=1e-6).pairing(x0, z, numbers)
    assert torch.equal(numbers[i].nan_to_num(-1), numbers.nan_to_num(-1))


def test_without_conditions_conditional_ot_is_ot():
    x0, z, _ = two_sets(100)
    assert torch.equal(ConditionalOptimalCoupling().pairing(x0, z)[0], OptimalCoupling().pairing(x0, z)[0])


def test_the_marginal_velocity_carries_the_source_to_the_data_with_optimal_pairs():
    """Where all x0 and z are Gaussian numbers the exact coupling is monotone, and E[z - x0 | x_t] is known: with
    z ~ N(m, s^2) and pairs z = m + s x0, x_t = t m + (1 - t + t s) x0 and u_t(x) = m + (s - 1) x0. The slope that
    regression on pairs of batches finds is that of this field, to the width of a batch of 512, about 1/sqrt(512).
    """
    m, s, t = 2.0, 0.5, 0.4
    generator, x, u = seeded(), [], []
    for _ in range(20):
        x0 = torch.randn(512, 1, generator=generator)
        z = m + s * torch.randn(512, 1, generator=generator)
        x0, z, _ = OptimalCoupling().pair(x0, z)
        x.append(t * z + (1 - t) * x0)
        u.append(z - x0)
    x, u = torch.cat(x)[:, 0], torch.cat(u)[:, 0]
    slope, level = np.polyfit(x.numpy(), u.numpy(), 1)
    wanted = (s - 1) / (1 - t + t * s)
    assert slope == pytest.approx(wanted, abs=LIMIT / math.sqrt(20 * 512))
    assert level == pytest.approx(m - wanted * t * m, abs=LIMIT / math.sqrt(20 * 512))


@pytest.mark.parametrize("name", [name for name in EVERY if name != "given"])
def test_every_coupling_trains_from_a_configuration(tiny, name, tmp_path):
    pipeline = tiny.data("moons", labels=True).coupling(name).build().fit(tmp_path / "run")
    again = fk.Pipeline.load(tmp_path / "run")
    assert torch.equal(again.sample(8, seed=1), pipeline.sample(8, seed=1))
    assert again.config["coupling"]["name"] == name


def test_the_score_is_refused_where_the_coupling_takes_it_away(tiny):
    """-E[x0|x] / beta is the score only if x0 ~ N(0, I) given z."""
    noisy = {"integrator": "euler_maruyama", "diffusion": "constant"}
    with pytest.raises(fk.ConfigError, match="x0 and z are independent, which coupling 'ot' does not leave them"):
        tiny.coupling("ot").sampling("euler_maruyama", diffusion="constant").build()
    pipeline = tiny.coupling("ot").sampling("euler", diffusion=None).build()
    with pytest.raises(fk.ConfigError, match="x0 and z are independent"):
        pipeline.sample(4, **noisy)
    tiny.coupling("independent").build().sample(4, **noisy)
    two_sided = (
        tiny.coupling("ot")
        .path("linear", gamma="sine_squared")
        .head("joint")
        .loss("joint", score_weighting="noise_variance")
    )
    two_sided.build().sample(4, grid={"name": "uniform", "start": 0.01, "end": 0.99}, **noisy)
