"""What changes from step to step by a formula: the learning rate, and how fast the average follows the weights."""

import math

import pytest
import torch

import flowkit as fk
from flowkit.training.checkpoint import latest_checkpoint
from flowkit.training.ema import EMA

STEPS, WARMUP, RATE = 12, 4, 1e-2


class Rates(fk.Callback):
    """Keeps the learning rate of every step."""

    def __init__(self):
        self.seen = []

    def logged(self, state):
        self.seen.append(state.learning_rate)


@pytest.mark.parametrize(
    ("decay", "share"), [("none", lambda k: 1.0), ("cosine", lambda k: (1 + math.cos(math.pi * k / STEPS)) / 2)]
)
def test_the_rate_warms_up_linearly_and_decays_from_the_whole_one(tiny, tmp_path, decay, share):
    rates = Rates()
    training = {"steps": STEPS, "log_every": 1, "learning_rate": RATE, "warmup_steps": WARMUP, "decay": decay}
    tiny.training(**training).build().fit(tmp_path / "run", callbacks=[rates])
    # The first step has the rate of its share of the warm-up, not 0; k steps are done before step k + 1.
    assert rates.seen == pytest.approx([RATE * min(1, (k + 1) / WARMUP) * share(k) for k in range(STEPS)])


def test_the_average_forgets_faster_early_on():
    parameter = torch.zeros(1, dtype=torch.float64)
    average, expected = EMA([parameter], 0.6), 0.0
    for step in range(1, 21):
        parameter.fill_(step)
        average.update(step)
        # (1 + step)/(10 + step) < 0.6 up to step 12
        decay = 0.6 if step > 12 else (1 + step) / (10 + step)
        expected = decay * expected + (1 - decay) * step
        assert average.averages[0].item() == pytest.approx(expected)


def test_the_first_step_moves_the_average_by_9_11_towards_the_weights(tiny, tmp_path):
    pipeline = tiny.training(steps=1).build()
    before = {name: value.clone() for name, value in pipeline.model.state_dict().items()}
    pipeline.fit(tmp_path / "run")
    saved = latest_checkpoint(tmp_path / "run")
    after, averages = saved.tensors("model"), saved.tensors("ema")
    for name in (name for name in after if name.startswith("network.")):
        assert not torch.equal(after[name], before[name])
        torch.testing.assert_close(averages[name], torch.lerp(before[name], after[name], 9 / 11))
