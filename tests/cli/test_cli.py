"""The command line as a person meets it: good commands work, bad ones say one clear thing and lose nothing."""

import json
import os
import shutil
import subprocess
import sys
import time
import types
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from command import flowkit
from safetensors.numpy import load_file
from typing_extensions import deprecated

import flowkit as fk
from flowkit.cli.main import _warn_in_words
from flowkit.plugins import Component, PluginManager, hookimpl

TINY = [
    "network.width=16",
    "training.steps=20",
    "training.batch_size=32",
    "training.log_every=5",
    "training.checkpoint_every=10",
    "evaluation.samples=64",
    "evaluation.repeats=1",
    "sampling.steps=4",
]


def in_a_process(*arguments, cwd, code=0, **environment):
    """Run the command as a shell does; its output, after checking its exit code and that there is no traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "flowkit", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    output = done.stdout + done.stderr
    assert done.returncode == code, output
    assert "Traceback" not in output
    return output


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trained run, `runs/moons`, in a folder of its own."""
    folder = tmp_path_factory.mktemp("cli")
    flowkit("train", "moons", *TINY, "--no-report", cwd=folder)
    return folder


def test_training_leaves_a_complete_run_and_says_what_to_do_next(tmp_path):
    output = in_a_process("train", "moons", *TINY, cwd=tmp_path)
    folder = tmp_path / "runs/moons"
    pictures = ("samples.png", "loss.png", "trajectory.gif")
    for name in ("config.yaml", "checkpoints", "metrics.jsonl", *pictures, "evaluation.json", "report.html"):
        assert (folder / name).exists(), name
    assert "report    runs/moons/report.html\n" in output
    assert "2-Wasserstein:" in output
    assert "data against data:" in output
    assert "flowkit sample runs/moons -n 5000 --out samples.npy" in output
    assert json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])["step"] == 20


def test_what_changes_when_a_run_goes_on_is_told(tmp_path):
    flowkit("train", "moons", *TINY, "--no-report", cwd=tmp_path)
    config = tmp_path / "runs/moons/config.yaml"
    config.write_text(config.read_text().replace(f" torch: {version('torch')}\n", " torch: '1.0'\n"))
    changed = [*TINY, "training.steps=30", "sampling.steps=5"]
    output = flowkit("train", "moons", *changed, "--no-report", "--resume", cwd=tmp_path)
    assert "training.steps: 20 -> 30\n" in output
    assert "sampling.steps: 4 -> 5\n" in output
    assert f"\ntorch: 1.0 -> {version('torch')}\n" in output
    assert output.count("->") == 3


def test_runs_are_listed_and_a_stopped_one_goes_on_with_the_command_it_is_given(tmp_path):
    assert "runs: there is no such folder" in flowkit("runs", cwd=tmp_path, code=2)
    flowkit("train", "moons", *TINY, "--no-report", cwd=tmp_path)
    shutil.rmtree(tmp_path / "runs/moons/checkpoints/step-00000020")
    log = tmp_path / "runs/moons/metrics.jsonl"
    log.write_text("".join(json.dumps(json.loads(line) | {"time": 0}) + "\n" for line in log.open()))
    output = flowkit("runs", cwd=tmp_path)
    assert "stopped" in output
    assert "10/20" in output
    command = output.partition("go on with: flowkit ")[2].split()
    flowkit(*command, "--no-report", cwd=tmp_path)
    output = flowkit("runs", cwd=tmp_path)
    assert "complete" in output
    assert "go on with" not in output


def test_a_damaged_checkpoint_is_named_in_one_line_and_the_one_before_is_used(run):
    shutil.copytree(run / "runs/moons", run / "damaged/run")
    file = run / "damaged/run/checkpoints/step-00000020/ema.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    output = flowkit("sample", "damaged/run", "-n", "5", "--out", "damaged.npy", cwd=run)
    assert "warning: damaged/run/checkpoints/step-00000020/ema.safetensors is damaged" in output
    assert "step-00000010 is used instead" in output


@pytest.fixture(scope="module")
def samples(run):
    """What the run gives for seed 3, in another process than that of the other formats."""
    in_a_process("sample", "runs/moons", "-n", 300, "--seed", 3, "--out", "x.npy", cwd=run)
    return np.load(run / "x.npy")


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".csv"])
def test_samples_go_to_every_format_with_the_same_values(run, samples, suffix):
    flowkit("sample", "runs/moons", "-n", 300, "--seed", 3, "--out", f"x{suffix}", cwd=run)
    path = run / f"x{suffix}"
    read = {
        ".npz": lambda: np.load(path)["x"],
        ".safetensors": lambda: load_file(path)["x"],
        ".csv": lambda: np.loadtxt(path, delimiter=",", skiprows=1),
    }[suffix]()
    assert read.shape == (300, 2)
    assert np.allclose(read, samples, atol=1e-6)


def test_sampling_settings_can_be_changed(run):
    flowkit("sample", "runs/moons", "-n", 50, "--integrator", "euler_maruyama", "sampling.diffusion.scale=2", cwd=run)
    flowkit("evaluate", "runs/moons", "--integrator", "rk4", "--steps", 3, cwd=run)
    output = flowkit(
        "sample", "runs/moons", "--integrator", "unipc", "sampling.integrator.predictor_order=9", cwd=run, code=2
    )
    assert "sampling.integrator.predictor_order: should be 2 or 3; got 9" in output
    output = flowkit("sample", "runs/moons", "-n", 10**13, cwd=run, code=2)
    assert "draw fewer" in output


def test_a_run_is_resumed_replaced_or_left_alone(run):
    output = flowkit("train", "moons", *TINY, cwd=run, code=2)
    assert "--resume" in output
    assert "--overwrite" in output
    before = (run / "runs/moons/metrics.jsonl").read_text()
    assert (run / "runs/moons/metrics.jsonl").read_text() == before
    output = flowkit("train", "moons", *TINY, "training.steps=30", "--resume", "--no-report", cwd=run)
    assert "from step 20" in output
    flowkit("train", "moons", *TINY, "--overwrite", "--no-report", cwd=run)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "moosn"], ["there is no recipe 'moosn'", "did you mean 'moons'", "digits"]),
        (["train", "missing.yaml"], ["missing.yaml: no such file"]),
        (["train", "network.width=8"], ["'network.width=8': is a setting; a recipe or a configuration file goes"]),
        (["train", "runs/moons"], ["runs/moons: is a run; its configuration is runs/moons/config.yaml"]),
        (["train", "moons", "network=mpl"], ["network:", "did you mean 'mlp'", "unet"]),
        (["train", "moons", "netwrok.width=3"], ["netwrok: no such section", "did you mean 'network'"]),
        (["train", "moons", "network.width=wide"], ["network.width", "integer", "'wide'"]),
        (["train", "moons", "network.width=0"], ["network.width", "greater than 0"]),
        (["train", "moons", "training.stesp=3"], ["training.stesp", "did you mean 'steps'"]),
        (["train", "moons", "steps"], ["'steps'", "section.setting=value"]),
        (["train", "moons", "path=gausian", "head=velocty"], ["2 problems", "path:", "head:"]),
        (["train", "moons", "data={name: array, path: none.npy}"], ["none.npy"]),
        (["train", "moons", "sampling.guidance=classifier_free"], ["sampling.guidance", "labels"]),
        (["sample", "nowhere"], ["nowhere", "no run here"]),
        (["sample", "runs/moons", "--out", "x.xlsx"], [".npy, .npz, .safetensors, .csv"]),
        (["sample", "runs/moons", "--out", "folder"], ["not images"]),
        (["sample", "runs/moons", "--out", "occupied"], ["a folder with files in it"]),
        (["sample", "runs/moons", "--out", "runs/moons/config.yaml/x.npy"], ["config.yaml is a file, not a folder"]),
        (["sample", "runs/moons", "--label", "cat"], ["--label cat: the data of this run have no labels"]),
        (["sample", "runs/moons", "sampling.guidance=classifier_free"], ["sampling.guidance: needs labels"]),
        (["train", "moons", "training.learning_rate=.inf"], ["training.learning_rate", "finite"]),
        (["sample", "runs/moons", "--label", "1"], ["--label 1: the data of this run have no labels"]),
        (
            ["sample", "runs/moons", "network.width=3"],
            ["only settings of sampling, data, source, evaluation can be changed"],
        ),
        (["sample", "runs/moons", "--steps", "4", "sampling.steps=8"], ["--steps 4 and sampling.steps=8 say the same"]),
        (["sample", "runs/moons", "--integrator", "huen"], ["did you mean 'heun'"]),
        (["list", "pathe"], ["there is no kind 'pathe'", "did you mean 'path'"]),
        (["show", "path", "gausian"], ["did you mean 'gaussian'"]),
        (["trian"], ["trian"]),
    ],
)
def test_a_mistake_gets_one_clear_message(run, arguments, words):
    (run / "occupied").mkdir(exist_ok=True)
    (run / "occupied/thesis.tex").write_text("work")
    arguments = [*arguments, *(["--out", "runs/new"] if arguments[0] == "train" else [])]
    output = flowkit(*arguments, cwd=run, code=2)
    for word in words:
        assert word in output
    assert not (run / "runs/new").exists()


@pytest.mark.parametrize(
    ("arguments", "out"),
    [
        (["sample", "runs/moons"], "/proc/x.npy"),
        (["train", "moons"], "/proc/x"),
        (["train", "moons"], "x" * 300),
        (["report", "runs/moons"], "/proc/x.html"),
        (["profile", "moons"], "/proc/x"),
        (["profile", "moons"], "runs/moons/config.yaml"),
        (["new", "flowkit-spiral"], "/proc/x"),
        (["schema"], "/proc/x.json"),
    ],
)
def test_a_place_that_cannot_be_written_to_is_named(run, arguments, out):
    output = flowkit(*arguments, "--out", out, cwd=run, code=2)
    assert output.removeprefix("error: ").removeprefix("--out ").startswith(f"{out}: ")
    assert len(output.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["list"],
        ["plugins"],
        ["train", "broken.yaml"],
        ["train", "moons", "path=gausian"],
        ["train", "moosn"],
    ],
)
def test_what_needs_no_torch_imports_none(arguments, tmp_path):
    (tmp_path / "broken.yaml").write_text("data: moons\npath: [")
    code = (
        "import sys; from flowkit.cli.main import main; sys.argv[0] = 'flowkit'\n"
        "try: main()\nexcept SystemExit: pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, *arguments], cwd=tmp_path, check=True, capture_output=True)


def test_a_terminal_that_lacks_a_letter_is_no_reason_to_fail(run):
    arguments = ["evaluate", "runs/moons", "evaluation.samples=16", "evaluation.repeats=2"]
    assert "2-Wasserstein" in in_a_process(*arguments, cwd=run, PYTHONIOENCODING="ascii")  # and ± beside it


def test_debug_shows_the_traceback(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "flowkit", "train", "moosn", "--debug"], cwd=tmp_path, capture_output=True, text=True
    )
    assert "Traceback" in done.stderr
    assert done.returncode == 2


def test_listing_and_showing(tmp_path):
    output = flowkit("list", cwd=tmp_path)
    for name in ("gaussian", "classifier_free", "moons", "checkerboard", "wasserstein"):
        assert name in output
    assert "E[z|x]" in output
    output = flowkit("show", "schedule", "vp", cwd=tmp_path)
    for word in ("rate_min", "float (> 0)", "0.1", "Song et al. 2021", "flowkit-torch"):
        assert word in output
    assert "flowkit-torch:ode" in flowkit("plugins", cwd=tmp_path)


def test_without_plugins_the_core_lists_nothing_and_says_so(tmp_path):
    assert "no plugin is loaded" in in_a_process("list", cwd=tmp_path, FLOWKIT_PLUGINS="")
    output = in_a_process("train", "moons", cwd=tmp_path, code=2, FLOWKIT_DISABLE_PLUGINS="flowkit-torch:ode")
    assert "sampling.grid: is required; no plugin provides a grid" in output
    assert "sampling.integrator: there is no integrator 'heun'; choose from: " in output


def test_ctrl_c_writes_a_checkpoint_and_says_how_to_go_on(tmp_path):
    command = [sys.executable, "-m", "flowkit", "train", "moons", "training.steps=100000", "training.log_every=5"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    metrics = tmp_path / "runs/moons/metrics.jsonl"
    deadline = time.time() + 60
    while time.time() < deadline and not (metrics.exists() and metrics.read_text()):
        time.sleep(0.1)
    process.send_signal(2)
    output = "".join(process.communicate(timeout=60))
    assert process.returncode == 130
    assert "--resume" in output
    assert "Traceback" not in output
    assert list((tmp_path / "runs/moons/checkpoints").glob("step-*/state.json"))


def test_a_config_file_trains_and_a_broken_one_is_named(tmp_path):
    np.save(tmp_path / "points.npy", np.random.default_rng(0).normal(size=(200, 3)).astype("float32"))
    (tmp_path / "my.yaml").write_text(
        "data: {name: array, path: points.npy}\nnetwork: {width: 16}\ntraining: {steps: 10, batch_size: 16}\n"
        "sampling: {steps: 4}\nevaluation: {samples: 32, repeats: 1}\n"
    )
    flowkit("train", "my.yaml", cwd=tmp_path)
    assert (tmp_path / "runs/my/samples.png").exists()
    (tmp_path / "bad.yaml").write_text("data: moons\npath: [")
    assert "bad.yaml, line 2" in flowkit("train", "bad.yaml", cwd=tmp_path, code=2)


def test_a_class_is_asked_for_by_its_name_and_a_recipe_is_shown(tmp_path):
    labelled = ["data.labels=true", *TINY]
    flowkit("train", "moons", *labelled, "--no-report", cwd=tmp_path)
    flowkit("sample", "runs/moons", "-n", 4, "--label", "lower", "--label", "upper", "--out", "x.npz", cwd=tmp_path)
    assert np.load(tmp_path / "x.npz")["y"].tolist() == ["lower", "upper"] * 2
    flowkit("sample", "runs/moons", "-n", 2, "--label", "lower", "--label", -1, "--out", "x.npz", cwd=tmp_path)
    assert np.load(tmp_path / "x.npz")["y"].tolist() == ["lower", ""]
    for unknown in ("0", "2", "-2", "²", "middle"):
        output = flowkit("sample", "runs/moons", "--label", unknown, cwd=tmp_path, code=2)
        assert f"--label {unknown}: there is no such class; the classes are upper, lower (-1: none)" in output
    assert "network: {name: mlp" in flowkit("show", "recipe", "moons", cwd=tmp_path)


def test_classes_without_names_are_asked_for_by_their_number(tmp_path):
    mixture = "data={name: gaussian_mixture, means: [[0, 0], [4, 4]], covariances: [1, 1], labels: true}"
    flowkit("train", "moons", mixture, *TINY, "--no-report", cwd=tmp_path)
    flowkit("sample", "runs/moons", "-n", 3, "--label", 1, "--label", -1, "--out", "x.npz", cwd=tmp_path)
    assert np.load(tmp_path / "x.npz")["y"].tolist() == [1, -1, 1]
    output = flowkit("sample", "runs/moons", "--label", "2", cwd=tmp_path, code=2)
    assert "--label 2: there is no such class; the classes are 0 to 1 (-1: none)" in output


def test_labels_of_a_table_are_asked_for_and_come_back_as_they_stand_there(tmp_path):
    (tmp_path / "table.csv").write_text("x,kind\n" + "".join(f"{i % 3},{i % 3 + 1}\n" for i in range(30)))
    flowkit("train", "moons", "data={name: array, path: table.csv, labels: kind}", *TINY, "--no-report", cwd=tmp_path)
    flowkit("sample", "runs/moons", "-n", 4, "--label", 1, "--label", 3, "--out", "x.csv", cwd=tmp_path)
    assert [line.rpartition(",")[2] for line in (tmp_path / "x.csv").read_text().split()] == ["label", *"1313"]
    output = flowkit("sample", "runs/moons", "--label", "0", cwd=tmp_path, code=2)
    assert "--label 0: there is no such class; the classes are 1, 2, 3 (-1: none)" in output


def test_ctrl_c_outside_of_training_says_that_it_stopped(run, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("flowkit.pipeline.pipeline.Pipeline.load", interrupted)
    assert flowkit("sample", "runs/moons", "--out", "many.npy", cwd=run, code=130) == "stopped\n"
    assert not (run / "many.npy").exists()


def test_samples_that_the_disk_has_no_room_for_say_where_and_what_to_do(run, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("flowkit.pipeline.pipeline.Pipeline.sample_to", full)
    output = flowkit("sample", "runs/moons", "--out", "many.npy", cwd=run, code=1)
    assert "error: --out many.npy: could not be written ([Errno 28] No space left on device)" in output
    assert "the same command goes on" in output


def test_a_component_that_is_going_away_says_so_in_a_line(capsys):
    @deprecated("old goes in stranger 0.4: use uniform", category=FutureWarning)
    class Old(fk.TimeSampler):
        """t ~ U(0, 1)."""

        def sample(self, n, generator=None, device="cpu", dtype=None, path=None):
            return None

    plugins = PluginManager({})
    plugins.add(types.SimpleNamespace(flowkit_components=hookimpl(lambda: [Component("time", "old", Old)])), "stranger")
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        _warn_in_words()
        fk.create("time", "old", plugins=plugins)
    assert capsys.readouterr().err == "warning: old goes in stranger 0.4: use uniform\n"


def test_a_future_warning_of_a_plugin_keeps_its_line_of_code(capsys):
    """A plugin may lie beside flowkit under a name that begins like it."""
    place = f"{Path(fk.__file__).parent}_stranger/paths.py"
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("default")
        _warn_in_words()
        warnings.warn_explicit("torch.old goes", FutureWarning, place, 7)
    assert [(warning.filename, warning.lineno) for warning in shown] == [(place, 7)]
    assert capsys.readouterr().err == ""
