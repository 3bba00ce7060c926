import pytest
import torch
from flowkit_torchdiffeq.integrator import ORDERS, Torchdiffeq
from torchdiffeq import odeint

import flowkit as fk
from flowkit.testing import parametrize_with_checks


class Pull(fk.Dynamics):
    """dx/dt = t sin x."""

    def drift(self, x, t):
        self.evaluations += 1
        return fk.expand_time(fk.batch_times(t, x), x) * x.sin()


@parametrize_with_checks([Torchdiffeq(method) for method in ORDERS])
def test_it_is_an_integrator(component, check):
    check(component)


@pytest.mark.parametrize("method", ORDERS)
def test_its_numbers_are_those_of_torchdiffeq_over_the_whole_grid(method):
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    times = torch.tensor([0.0, 0.1, 0.4, 1.0], dtype=torch.float64)
    wanted = odeint(lambda t, x: t.to(x) * x.sin(), x, times, method=method)
    states = list(Torchdiffeq(method).trajectory(Pull(), x, times))
    assert torch.equal(torch.stack(states), wanted)


@pytest.mark.parametrize("method", ORDERS)
def test_a_step_takes_as_many_evaluations_as_its_order(method):
    dynamics = Pull()
    Torchdiffeq(method).integrate(dynamics, torch.ones(1, 1), [0.0, 0.3, 1.0])
    assert dynamics.evaluations == 2 * ORDERS[method]


def test_a_pipeline_samples_with_it(tmp_path):
    builder = fk.Pipeline.builder().data("moons").network("mlp", width=16).training(steps=2, batch_size=8)
    pipeline = builder.sampling({"name": "torchdiffeq", "method": "heun3"}, steps=5).build().fit(tmp_path / "run")
    cost = fk.Cost()
    assert pipeline.sample(4, cost=cost).shape == (4, 2)
    assert cost.evaluations == 15
