"""One plan for all processes."""

import os
import subprocess
import sys

import pytest
import torch
from oracles import seeded

import flowkit as fk

SCRIPT = """
import os
import sys
from pathlib import Path

import torch
import flowkit as fk

torch.set_num_threads(1)
folder, rank = Path(sys.argv[1]), int(os.environ["RANK"])
torch.distributed.init_process_group("gloo")
x0, z, y = (part.chunk(2)[rank] for part in torch.load(folder / "batch.pt"))
for together in (True, False):
    pairs = fk.create("coupling", "ot", across_processes=together).pair(x0, z, y)
    torch.save(pairs, folder / f"{together}-{rank}.pt")

for run in ("first", "second"):
    builder = fk.Pipeline.builder().data("moons").network("mlp", width=16).coupling("ot", across_processes=True)
    pipeline = builder.training(steps=6, batch_size=64, log_every=2).evaluation(metrics=[]).build()
    pipeline.fit(folder / run)
    torch.save(pipeline.model.state_dict(), folder / f"{run}-{rank}.pt")
"""


def two_sets(n):
    generator = seeded()
    z = torch.randn(n, 2, generator=generator) + 1
    return torch.randn(n, 2, generator=generator), z, torch.arange(n)


def test_one_process_alone_pairs_as_ever():
    x0, z, y = two_sets(100)
    together, plain = (fk.create("coupling", "ot", across_processes=across).pair(x0, z, y) for across in (True, False))
    assert all(torch.equal(one, other) for one, other in zip(together, plain, strict=True))


def test_nothing_is_sent_from_the_thread_that_prepares_pairs():
    assert fk.create("coupling", "ot").ahead
    assert not fk.create("coupling", "ot", across_processes=True).ahead


@pytest.mark.slow
def test_two_processes_share_the_optimal_plan_of_the_whole_batch_and_train_alike(tmp_path):
    batch = two_sets(200)
    torch.save(batch, tmp_path / "batch.pt")
    (tmp_path / "script.py").write_text(SCRIPT)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    subprocess.run([*launch, str(tmp_path / "script.py"), str(tmp_path)], env=environment, check=True, timeout=300)

    def gathered(name):
        shares = (torch.load(tmp_path / f"{name}-{rank}.pt") for rank in (0, 1))
        return [torch.cat(parts) for parts in zip(*shares, strict=True)]

    whole = fk.create("coupling", "ot").pair(*batch)
    assert all(torch.equal(one, other) for one, other in zip(gathered("True"), whole, strict=True))

    def cost(pairs):
        return float((pairs[0] - pairs[1]).double().square().sum(1).mean())

    assert cost(gathered("False")) > cost(whole)
    weights = [torch.load(tmp_path / f"{run}-{rank}.pt") for run in ("first", "second") for rank in (0, 1)]
    for name, value in weights[0].items():
        assert all(torch.equal(value, other[name]) for other in weights[1:])
