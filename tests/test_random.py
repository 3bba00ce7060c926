"""Random numbers: they belong to samples and seeds, not to batches, and leave everyone else's alone."""

import itertools
import math
import random

import numpy as np
import pytest
import torch
from oracles import LIMIT, errors_off, seeded

from flowkit import BlockGenerator, randn_like
from flowkit.random import BLOCK, block_size, derive_seed


def draws(seed, start, count, times=2):
    """Some draws in a row, shape (times, count, 3)."""
    generator = BlockGenerator(seed, start, count)
    return torch.stack([randn_like(torch.empty(count, 3), generator) for _ in range(times)])


def test_sample_i_of_a_seed_does_not_depend_on_how_many_there_are():
    whole = draws(5, 0, 1000)
    for count in (1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 700):
        assert torch.equal(draws(5, 0, count), whole[:, :count])


@pytest.mark.parametrize("batch", [1, 100, BLOCK, 2 * BLOCK, 700])
def test_sample_i_of_a_seed_does_not_depend_on_the_batch_size(batch):
    parts = [draws(5, start, min(batch, 1000 - start)) for start in range(0, 1000, batch)]
    assert torch.equal(torch.cat(parts, dim=1), draws(5, 0, 1000))


EVENTS = [(3,), (4096,), (4097,), (3, 64, 64), (2**19 + 1,), (2**20 + 1,)]


@pytest.mark.parametrize("event", EVENTS, ids=str)
def test_a_block_takes_no_more_numbers_than_2_to_the_20_or_one_sample(event):
    drawn = []
    BlockGenerator(0, 5, 1).draw(lambda n, g: drawn.append(n) or torch.zeros(n), math.prod(event))
    assert sum(drawn) * math.prod(event) <= max(2**20, math.prod(event))
    assert 2 * sum(drawn) > min(BLOCK, 2**20 // math.prod(event))  # nor is it smaller than that asks for


@pytest.mark.parametrize("event", EVENTS, ids=str)
@pytest.mark.parametrize("batch", [1, 3])
def test_large_samples_do_not_depend_on_their_batches(event, batch):
    """Nor does what is drawn before and after in blocks of another size."""

    def three(start, count):
        generator = BlockGenerator(5, start, count)
        shapes = (event, (2,), event)
        return [randn_like(torch.empty(count, *shape), generator) for shape in shapes]

    whole = three(1, 6)
    parts = [three(start, min(batch, 7 - start)) for start in range(1, 7, batch)]
    for i, drawn in enumerate(whole):
        assert torch.equal(torch.cat([part[i] for part in parts]), drawn)
    assert not torch.equal(whole[0], whole[2])


def test_blocks_of_all_sizes_are_unrelated():
    """The first numbers of each of the first blocks: no two are the same."""
    sizes = [2**k for k in range(9)]

    def draw(n, generator):
        return torch.randn(n, dtype=torch.float64, generator=generator)

    first = [BlockGenerator(0, 4 * size, 1).draw(draw, 2**20 // size) for size in sizes]
    assert [block_size(2**20 // size) for size in sizes] == sizes
    assert len(torch.cat(first).unique()) == len(sizes)


def test_a_part_of_a_block_does_not_keep_the_rest():
    assert randn_like(torch.empty(10, 3), BlockGenerator(0, 100, 10)).untyped_storage().nbytes() == 4 * 10 * 3


def test_seeds_blocks_and_draws_are_unrelated():
    """Standard normal, and no correlation between seeds 0 and 1, two blocks of each, and two draws of each block."""
    streams = [
        draws(seed, 0, 20 * BLOCK).reshape(2, 10, 2, BLOCK * 3).transpose(1, 2).reshape(4, -1) for seed in (0, 1)
    ]
    values = torch.cat(streams).T.double()  # (7680, 8)
    assert errors_off(values, 0) < LIMIT
    assert errors_off(torch.einsum("ni,nj->nij", values, values), torch.eye(8)) < LIMIT


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("event", [(), (2,), (3, 4, 4)])
def test_noise_has_the_shape_and_type_of_its_state(dtype, event):
    x = torch.zeros(300, *event, dtype=dtype)
    for generator in (None, seeded(), BlockGenerator(0, 0, 300)):
        noise = randn_like(x, generator)
        assert noise.shape == x.shape
        assert noise.dtype == dtype
        assert noise.isfinite().all()


def test_an_ordinary_generator_is_drawn_from_as_torch_does():
    assert torch.equal(randn_like(torch.empty(5, 2), seeded(3)), torch.randn(5, 2, generator=seeded(3)))


def test_what_is_drawn_is_the_caller_s_choice():
    uniform = BlockGenerator(0, 0, 300).draw(lambda n, generator: torch.rand(n, 2, generator=generator))
    assert uniform.shape == (300, 2)
    assert ((uniform >= 0) & (uniform < 1)).all()
    calls = []
    BlockGenerator(0, BLOCK, 300).draw(lambda n, generator: calls.append(n) or torch.zeros(n))
    assert calls == [BLOCK, BLOCK]  # a block is always drawn whole


def test_a_seed_is_the_same_each_time_and_fits_a_generator():
    seed = derive_seed(1, 2, 3)
    assert seed == derive_seed(1, 2, 3)
    assert isinstance(seed, int)
    for parts in itertools.product(range(20), repeat=2):
        assert 0 <= derive_seed(*parts) < 2**63
    torch.Generator().manual_seed(derive_seed(2**63 - 1, 2**63 - 1))


def test_neighbouring_parts_have_distinct_seeds():
    seeds = {derive_seed(*parts) for parts in itertools.product(range(30), range(30))}
    assert len(seeds) == 900
    assert derive_seed(1, 2) != derive_seed(2, 1)


@pytest.mark.parametrize(
    ("first", "second"),
    [((7,), (7, 0)), ((7, 2), (7, 2, 0)), ((2**32,), (0, 1)), ((2**32 + 5, 1), (5, 1, 1))],
    ids=str,
)
def test_different_parts_have_different_seeds(first, second):
    """Streams of one use, (seed, 2, rank), must not be those of another, (seed, block)."""
    assert derive_seed(*first) != derive_seed(*second)


def test_the_global_generators_are_left_alone():
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    derive_seed(1, 2)
    draws(0, 0, 300)
    randn_like(torch.empty(3), seeded())
    after = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


def test_the_global_state_does_not_change_what_is_drawn():
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        first = draws(0, 0, 10)
        torch.manual_seed(2)
        assert torch.equal(draws(0, 0, 10), first)
