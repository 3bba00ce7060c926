"""`flowkit doctor` sees what is broken or slow, and says the way out."""

import importlib.metadata
import json
import os
import re
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement
from typer.testing import CliRunner

import flowkit as fk
from flowkit.cli.main import app
from flowkit.doctor import compiling, diagnose, machine, software, speed
from flowkit.plugins import Component, hookimpl
from flowkit.plugins.manager import PluginManager


class Plugin:
    """A plugin made of what it is given."""

    def __init__(self, *components):
        self.components = components

    @hookimpl
    def flowkit_components(self):
        return self.components


class Broken:
    @hookimpl
    def flowkit_components(self):
        raise ImportError("no such library")


def only(findings, mark):
    """The findings of one mark: each note and each problem must say what to do."""
    found = list(findings)
    assert all(bool(finding.advice) == (finding.mark != "ok") for finding in found)
    return [finding for finding in found if finding.mark == mark]


@pytest.fixture(scope="module")
def here():
    """What is found in this environment."""
    return fk.diagnose()


def test_the_environment_that_runs_the_tests_has_no_problem(here):
    assert only(here, "problem") == []
    topics = {finding.topic for finding in here}
    assert topics >= {"python", "flowkit", "torch", "cores", "threads", "small step", "matmul", "plugins", "disk"}
    assert next(finding.seen for finding in here if finding.topic == "torch") == torch.__version__


def test_looking_changes_no_threads_and_no_random_state():
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    list(speed.speed())
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_a_broken_check_is_a_finding_and_stops_no_other(monkeypatch):
    def load():
        raise OSError("no such device")

    monkeypatch.setattr(diagnose, "load", load)
    found = fk.diagnose()
    (broken,) = only(found, "problem")
    assert broken.topic == "load"
    assert "OSError: no such device" in broken.seen
    assert "disk" in {finding.topic for finding in found}


def test_a_torch_that_cannot_be_imported_is_a_problem_and_plugins_are_still_looked_at(monkeypatch):
    imported = importlib.import_module

    def failing(name):
        if name == "torch":
            raise OSError("libtorch.so: cannot open shared object file")
        return imported(name)

    monkeypatch.setattr(software.importlib, "import_module", failing)
    found = fk.diagnose()
    (broken,) = only(found, "problem")
    assert "libtorch.so" in broken.seen
    assert "plugins" in {finding.topic for finding in found}
    assert "small step" not in {finding.topic for finding in found}


# software


def test_a_requirement_that_is_missing_too_old_or_lacks_its_extra_is_unmet(monkeypatch):
    assert software.unmet(Requirement("torch>=2.5")) == ""
    assert software.unmet(Requirement("nonesuch>=1")) == "nonesuch is not installed"
    assert "and should be >=99" in software.unmet(Requirement("torch>=99"))
    requires = {
        "flowkit-torch": [
            "torch",
            "nonesuch>=3; extra == 'more'",
            "numpy; extra == 'less'",
            "none; python_version > '3'",
        ]
    }
    monkeypatch.setattr(software.importlib.metadata, "requires", requires.get)
    assert software.unmet(Requirement("flowkit-torch[more]")) == "nonesuch is not installed"
    assert software.unmet(Requirement("flowkit-torch[less]")) == ""


def test_a_missing_dependency_is_a_problem_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(software.importlib.metadata, "requires", lambda name: ["nonesuch>=3", "numpy"])
    (missing,) = only(software.packages(), "problem")
    assert (missing.topic, missing.advice) == ("nonesuch", "pip install 'nonesuch>=3'")


def test_a_plugin_that_fails_is_a_problem_one_that_was_left_out_a_note():
    manager = PluginManager({"FLOWKIT_DISABLE_PLUGINS": "other"})
    manager.add(Plugin(), "one:main", "one", "1.0")
    manager.add(Plugin(), "other:main", "other", "1.0")
    manager.add(Broken(), "broken:main", "broken", "2.0")
    (failed,) = only(software.plugins(manager), "problem")
    (left_out,) = only(software.plugins(manager), "note")
    assert "broken:main 2.0 did not load: ImportError: no such library" in failed.seen
    assert "other:main" in left_out.seen


def test_a_slow_plugin_is_a_note(monkeypatch):
    monkeypatch.setattr("flowkit.plugins.notes.SLOW", -1.0)
    manager = PluginManager({})
    manager.add(Plugin(), "slow:main", "slow", "1.0")
    (slow,) = only(software.plugins(manager), "note")
    assert "slow:main 1.0 took" in slow.seen


def test_no_plugin_at_all_is_a_problem():
    assert only(software.plugins(PluginManager({})), "problem")


@pytest.mark.parametrize(("library", "notes"), [("nonesuch", 1), ("numpy", 0)])
def test_components_whose_extra_is_not_installed_are_named(library, notes, monkeypatch):
    metadata = importlib.metadata.metadata("flowkit-torch")
    metadata.add_header("Provides-Extra", "magic")
    monkeypatch.setattr(software.importlib.metadata, "metadata", lambda name: metadata)
    monkeypatch.setattr(software.importlib.metadata, "requires", lambda name: [f"{library}; extra == 'magic'"])
    manager = PluginManager({})
    manager.add(Plugin(Component("path", "spell", "a:B", extra="magic")), "flowkit-torch:own", "flowkit-torch", "1.0")
    found = only(software.extras(manager), "note")
    assert len(found) == notes
    for note in found:
        assert "path spell" in note.seen
        assert note.advice == "pip install 'flowkit-torch[magic]'"


def test_variables_are_named_with_what_they_do_and_misspelt_ones_noted():
    given = {"OMP_NUM_THREADS": "4", "ACCELERATE_DYNAMO_BACKEND": "inductor", "FLOWKIT_PLUGIN": "x", "HOME": "/"}
    found = list(software.environment(given))
    assert [finding.seen.partition("=")[0] for finding in only(found, "ok")] == [
        "ACCELERATE_DYNAMO_BACKEND",
        "OMP_NUM_THREADS",
    ]
    (misspelt,) = only(found, "note")
    assert "did you mean 'FLOWKIT_PLUGINS'?" in misspelt.seen
    (bad,) = only(software.environment({"WORLD_SIZE": "two"}), "problem")
    assert bad.advice == "unset WORLD_SIZE"


def test_a_mixed_precision_of_the_launch_is_said_to_stop_training():
    (found,) = software.environment({"ACCELERATE_MIXED_PRECISION": "bf16"})
    assert "training stops unless it is no, or what training.mixed_precision says" in found.seen


def test_every_variable_that_flowkit_reads_is_known():
    root = Path(fk.__file__).parent
    read = {
        word
        for file in root.rglob("*.py")
        for word in re.findall(r"\bFLOWKIT_[A-Z_]*[A-Z]", file.read_text(encoding="utf-8"))
    }
    assert read
    assert read <= set(software.VARIABLES)


# machine


@pytest.mark.parametrize(
    ("files", "member", "expected"),
    [
        ({"cpu.max": "max 100000"}, "0::/", None),
        ({"cpu.max": "250000 100000"}, "0::/", 2.5),
        ({"a/b/cpu.max": "max 100000", "a/cpu.max": "100000 100000", "cpu.max": "400000 100000"}, "0::/a/b", 1.0),
        ({"cpu.max": "150000 100000"}, "0::/not/mounted/here", 1.5),
        ({"cpu/a/cpu.cfs_quota_us": "50000", "cpu/a/cpu.cfs_period_us": "100000"}, "4:cpu,cpuacct:/a", 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, "4:memory:/\n1:cpu:/", None),
        ({}, "0::/", None),
        ({"cpu.max": "nonsense"}, "0::/", None),
    ],
)
def test_the_limit_of_control_groups_is_the_smallest_on_the_way_up(files, member, expected, tmp_path):
    for name, text in files.items():
        file = tmp_path / "cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    (tmp_path / "member").write_text(member + "\n")
    assert machine.cpu_quota(tmp_path / "cgroup", tmp_path / "member") == expected


def test_usable_cores_are_those_of_the_affinity_and_the_quota(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    for quota, expected in ((None, 8), (2.5, 3), (0.5, 1), (64.0, 8)):
        monkeypatch.setattr(machine, "cpu_quota", lambda quota=quota: quota)
        assert machine.usable_cores() == expected


def test_more_threads_than_cores_are_noted_with_the_number_to_use(monkeypatch):
    monkeypatch.setattr(machine, "usable_cores", lambda: 4)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    (note,) = only(machine.cores(), "note")
    assert note.advice == "export OMP_NUM_THREADS=4"


@pytest.mark.parametrize(
    ("busy", "threads", "notes"), [(0.2, 4, 0), (2.9, 4, 1), (9.0, 4, 1), (9.0, 1, 0), (2.0, 2, 0)]
)
def test_a_load_that_leaves_too_few_idle_cores_is_noted_where_several_threads_would_wait(
    busy, threads, notes, monkeypatch
):
    monkeypatch.setattr(os, "getloadavg", lambda: (busy, 0.0, 0.0))
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert len(only(machine.load(), "note")) == notes


def test_a_gpu_that_is_there_and_not_used_is_noted(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(machine.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    (note,) = only(machine.devices(), "note")
    assert "built for the CPU alone" in note.seen
    monkeypatch.setattr(torch.version, "cuda", "12.4")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (note,) = only(machine.devices(), "note")
    assert note.advice == "unset CUDA_VISIBLE_DEVICES"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    (note,) = only(machine.devices(), "note")
    assert "finds none" in note.seen


def test_a_gpu_is_described_and_one_without_kernels_in_this_torch_is_a_problem(monkeypatch):
    facts = namedtuple("Facts", "name major minor total_memory")("Card", 9, 0, 80 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: facts)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (60 * 2**30, 80 * 2**30))
    monkeypatch.setattr(torch, "ones", lambda *_, **__: torch.zeros(()))
    finding = machine._gpu(0)
    assert (finding.mark, finding.seen) == ("ok", "Card, 60.0 of 80.0 GiB free, capability 9.0, with bf16")

    def no_kernel(*_, **__):
        raise RuntimeError("CUDA error: no kernel image is available\nfor execution")

    monkeypatch.setattr(torch, "ones", no_kernel)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_50"])
    finding = machine._gpu(0)
    assert finding.mark == "problem"
    assert "no kernel image" in finding.seen
    assert "sm_50" in finding.advice


def test_a_nearly_full_disk_is_a_note_and_one_that_is_full_or_cannot_be_written_a_problem(tmp_path, monkeypatch):
    assert only(machine.disk(tmp_path / "new/runs"), "problem") == []
    usage = namedtuple("Usage", "free")
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: usage(2**29))
    assert only(machine.disk(tmp_path), "note")
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: usage(2**20))
    (found,) = only(machine.disk(tmp_path), "problem")
    assert found.seen.startswith("1.0 MiB free")
    (tmp_path / "file").write_text("")
    (found,) = only(machine.disk(tmp_path / "file/runs"), "problem")
    assert "--out" in found.advice


# speed


def test_each_number_of_threads_is_measured_on_that_many_threads(monkeypatch):
    monkeypatch.setattr(speed, "_SECONDS", 0.0)
    seen = []
    found = speed.measured(lambda: seen.append(torch.get_num_threads()), [1, 2])
    assert seen == [1, 1, 2, 2] * 3
    assert set(found) == {1, 2}


@pytest.mark.parametrize(("one", "two", "mark"), [(1.0, 0.6, "ok"), (1.0, 1.1, "ok"), (1.0, 3.0, "note")])
def test_threads_that_make_large_products_slower_are_noted(one, two, mark):
    assert speed._matmul({1: one, 2: two}, 2).mark == mark


def test_the_faster_number_of_threads_is_named():
    assert "1 thread is faster" in speed._small_step({1: 1e-3, 2: 2e-3}, 2).seen
    assert "2 threads are faster" in speed._small_step({1: 2e-3, 2: 1e-3}, 2).seen
    assert speed._small_step({1: 2e-3}, 1).seen == "2.00 ms on 1 thread"


# torch.compile


def test_a_missing_compiler_is_a_note(monkeypatch):
    monkeypatch.setattr(compiling, "cxx_compiler", lambda: None)
    assert only(compiling.compiler(), "note")


def test_trying_to_compile_says_how_it_went(monkeypatch):
    monkeypatch.setattr(compiling, "_CODE", "print(3)")
    (fine,) = only(compiling.try_compiling(), "ok")
    assert "in 3 s" in fine.seen
    monkeypatch.setattr(compiling, "_CODE", "raise RuntimeError('no Python.h')")
    (failed,) = only(compiling.try_compiling(), "problem")
    assert "RuntimeError: no Python.h" in failed.seen
    monkeypatch.setattr(compiling, "_CODE", "import time; time.sleep(60)")
    (stuck,) = only(compiling.try_compiling(limit=0.5), "problem")
    assert "was not compiled in 0 s" in stuck.seen


# the command


def test_the_command_prints_every_finding_with_its_way_out_and_fails_only_for_problems(monkeypatch, here):
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr(diagnose, "diagnose", lambda *_, **__: [fk.Finding("note", "load", "is [high]", "wait")])
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 0
    assert "is [high]" in result.stdout
    assert "-> wait" in result.stdout
    assert "no problems, 1 note" in result.stdout
    monkeypatch.setattr(diagnose, "diagnose", lambda *_, **__: [*here, fk.Finding("problem", "torch", "gone", "mend")])
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert result.exit_code == 1
    assert json.loads(result.stdout)[-1] == {"mark": "problem", "topic": "torch", "seen": "gone", "advice": "mend"}


def test_a_plugin_that_does_not_load_fails_the_command(monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    manager = PluginManager({})
    manager.add(Broken(), "broken:main", "broken", "2.0")
    monkeypatch.setattr(diagnose, "installed_plugins", lambda: manager)
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert "broken:main 2.0 did not load" in result.stdout
