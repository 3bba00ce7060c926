"""The report of a run: one page that is whole, true and safe, whatever the run folder lacks and plugins add."""

import base64
import io
import json
import shutil
import subprocess
import sys
import types
from html.parser import HTMLParser

import pytest
from command import flowkit
from PIL import Image as Picture

import flowkit as fk
from flowkit.pipeline.run import RunFolder
from flowkit.plugins import Image, PluginManager, Section, hookimpl
from flowkit.report import write_report

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """What a browser would see: the tags with their attributes, and the text."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.open, self.text, self.source = [], [], "", path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style", "script"):
            self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run with everything that a run can have."""
    folder = tmp_path_factory.mktemp("report") / "my run"
    builder = fk.Pipeline.builder().data("moons").network("mlp", width=16, depth=2).sampling("euler", steps=4)
    builder.training(steps=20, batch_size=32, log_every=5).evaluation(metrics=["wasserstein"], samples=64, repeats=2)
    pipeline = builder.build().fit(folder)
    return folder, pipeline.report(folder)


@pytest.fixture
def run(trained, tmp_path):
    """A copy of it that a test may spoil."""
    return shutil.copytree(trained[0], tmp_path / "my run")


def manager(hook, name="flowkit_report_sections"):
    """The plugin `flowkit-extra:main` with this hook, alone."""
    plugins = PluginManager({})
    plugins.add(types.SimpleNamespace(**{name: hookimpl(hook)}), "flowkit-extra:main", "flowkit-extra", "0.3")
    return plugins


def png():
    file = io.BytesIO()
    Picture.new("RGB", (3, 2), "red").save(file, "PNG")
    return file.getvalue()


def test_a_report_is_one_page_with_whole_pictures_and_their_descriptions(trained):
    folder, report = trained
    assert report.path == folder / "report.html"
    page = Page(report.path)
    images = page.all("img")
    pictures = [Picture.open(io.BytesIO(base64.b64decode(image["src"].partition(",")[2]))) for image in images]
    assert [picture.format for picture in pictures] == ["PNG", "GIF", "PNG"]
    for picture in pictures:
        picture.load()
    assert pictures[1].n_frames == 5
    assert all(len(image["alt"]) > 20 for image in images)


def test_a_report_needs_nothing_from_elsewhere_and_runs_nothing(trained):
    page = Page(trained[1].path)
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "base"}
    for _, attributes in page.tags:
        for name in ("src", "href", "srcset", "action"):
            assert attributes.get(name, "data:").startswith("data:")
        assert not any(name.startswith("on") for name in attributes)
    assert "url(" not in page.source
    assert "@import" not in page.source
    (policy,) = [meta["content"] for meta in page.all("meta") if "http-equiv" in meta]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_a_report_is_readable_in_light_and_dark_and_by_a_screen_reader(trained):
    page = Page(trained[1].path)
    assert page.all("html") == [{"lang": "en"}]
    assert "color-scheme: light dark" in page.source
    assert "prefers-color-scheme: dark" in page.source
    assert len(page.all("h1")) == 1
    for table, caption in zip(page.all("table"), page.all("caption"), strict=True):
        assert (table, caption) == ({}, {})
    assert {header["scope"] for header in page.all("th")} == {"col", "row"}


def test_a_report_says_what_was_trained_and_how_well(trained):
    folder, report = trained
    page, log, (evaluation,) = Page(report.path), RunFolder(folder).metrics(), report.evaluations
    assert "20 of 20" in page.text
    assert f"{log[-1]['loss']:.4g}" in page.text
    for value, error in ((evaluation.value, evaluation.value_error), (evaluation.floor, evaluation.floor_error)):
        assert f"{value:.4f} ± {error:.4f}" in page.text
    assert f"{evaluation.ratio:.2f} ± {evaluation.ratio_error:.2f}" in page.text
    assert "2 draws of 64 a side" in page.text
    assert "network:\n  name: mlp\n  width: 16\n" in page.text
    assert f"network/mlpflowkit-torch{fk.__version__}\n" in page.text
    assert "Not in this report" not in page.text


def test_the_training_time_is_what_the_log_says(run):
    lines = [(100, 10.0), (300, 50.0), (400, 0.0)]
    log = [{"step": s, "loss": 1.0, "learning_rate": 0.1, "steps_per_second": pace} for s, pace in lines]
    RunFolder(run).metrics_file.write_text("\n".join(map(json.dumps, log)))
    assert "14.0 s" in Page(write_report(run)).text  # 100 / 10 + 200 / 50, and a pace of 0 tells nothing


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("samples.png", None),
        ("trajectory.gif", b"GIF"),
        ("loss.png", b""),
        ("evaluation.json", None),
        ("evaluation.json", b'{"metrics": [{"metric": "a"}]}'),
        ("evaluation.json", b"[1"),
    ],
)
def test_what_is_missing_or_damaged_is_left_out_and_said(file, content, run):
    (run / file).unlink() if content is None else (run / file).write_bytes(content)
    page = Page(write_report(run))
    assert f"{file}: " in page.text.partition("Not in this report")[2]
    assert len(page.all("img")) == (3 if file == "evaluation.json" else 2)


def test_a_run_without_anything_but_its_configuration_has_a_report(run):
    for file in [path for path in run.iterdir() if path.name != "config.yaml"]:
        shutil.rmtree(file) if file.is_dir() else file.unlink()
    page = Page(write_report(run))
    assert "0 of 20" in page.text
    assert page.text.count("not in the run folder") == 3
    assert not page.all("img")


def test_results_are_of_the_step_whose_weights_were_sampled(tiny, tmp_path):
    pipeline = tiny.build().fit(tmp_path / "run")
    assert pipeline.step == 20
    (tmp_path / "run/checkpoints/step-00000020/ema.safetensors").write_bytes(b"")
    with pytest.warns(fk.FlowkitWarning, match="step-00000010 is used instead"):
        loaded = fk.Pipeline.load(tmp_path / "run")
    loaded.report(tmp_path / "run")
    assert json.loads((tmp_path / "run/evaluation.json").read_text())["step"] == loaded.step == 10


def test_results_of_an_earlier_step_are_called_so(run):
    shutil.copytree(run / "checkpoints/step-00000020", run / "checkpoints/step-00000030")
    assert "Samples and metrics are those of step 20; the run is at step 30 by now." in Page(write_report(run)).text


def test_a_fresh_run_in_the_folder_takes_its_report_along(run):
    run_folder = RunFolder(run)
    run_folder.start(run_folder.read_config())
    assert [path.name for path in run.iterdir()] == ["config.yaml"]


def test_one_draw_has_no_standard_error(tiny, tmp_path):
    pipeline = tiny.evaluation(repeats=1).build().fit(tmp_path / "run")
    held = RunFolder(tmp_path / "run")
    held.write_evaluation(pipeline.evaluate())
    assert held.evaluation()["metrics"][0]["value_error"] is None
    assert "one draw of 64" in Page(write_report(tmp_path / "run")).text


def test_text_is_text_wherever_it_comes_from(run, tmp_path):
    mean = "<script>alert('1')</script>"
    config = RunFolder(run).read_config() | {"data": {"name": mean}}
    RunFolder(run).write_config(config)

    def sections(context):
        return [Section(mean, text=f"one {mean}\n\ntwo", images=(Image(png(), f'" onerror="{mean}'),))]

    page = Page(write_report(run.rename(tmp_path / "<script>"), plugins=manager(sections)))
    assert not page.all("script")
    assert page.text.count(mean) >= 4
    assert page.all("img")[-1]["alt"] == f'" onerror="{mean}'


def test_plugins_add_sections_after_ours_and_are_named(run):
    (run / "extra.png").write_bytes(png())

    def sections(context):
        assert context.config["path"]["name"] == "gaussian"
        assert context.metrics[-1]["step"] == context.evaluation["step"] == 20
        yield Section(
            "Energy", html="<p>0.3 <b>kWh</b></p>", images=(Image(context.folder / "extra.png", "A red box"),)
        )
        yield Section("Notes", text="one\n\ntwo")

    page = Page(write_report(run, plugins=manager(sections)))
    assert page.text.index("Metrics") < page.text.index("Energy") < page.text.index("Notes")
    assert page.all("b")
    assert page.all("img")[-1]["alt"] == "A red box"
    assert page.text.count("by flowkit-extra:main 0.3") == 2


def test_a_wrapper_may_reorder_what_the_others_gave(run):
    plugins = manager(lambda: [Section("First called", text="news")])

    @hookimpl(wrapper=True)
    def flowkit_report_sections(context):
        return (yield)[::-1]

    before = types.SimpleNamespace(
        flowkit_report_sections=hookimpl(lambda: [Section("Other", text="news")], trylast=True)
    )
    plugins.add(before, "flowkit-other:main")
    page = Page(write_report(run, plugins=plugins))
    assert page.text.index("First called") < page.text.index("Other")
    plugins.add(types.SimpleNamespace(flowkit_report_sections=flowkit_report_sections), "flowkit-order:main")
    page = Page(write_report(run, plugins=plugins))
    assert page.text.index("Other") < page.text.index("First called")


def raises(context):
    yield Section("Half", text="half")
    raise RuntimeError("no luck")


def shows_no_image(context):
    return [Section("Image", images=(Image(b"text", "text"),))]


def gives_text(context):
    return ["text"]


@pytest.mark.parametrize(
    ("hook", "message"),
    [
        (raises, "RuntimeError: no luck"),
        (shows_no_image, "ValueError: the image is no PNG, JPEG, GIF or WebP"),
        (gives_text, "TypeError: flowkit_report_sections yielded 'text', not a Section"),
    ],
)
def test_a_section_that_fails_is_a_line_with_the_name_of_its_plugin_and_others_stay(hook, message, run):
    plugins = manager(hook)
    good = types.SimpleNamespace(flowkit_report_sections=hookimpl(lambda: [Section("Good", text="news")]))
    plugins.add(good, "flowkit-good:main")
    page = Page(write_report(run, plugins=plugins))
    assert f"The plugin flowkit-extra:main 0.3 failed to add its sections: {message}" in page.text
    assert "Half" not in page.text
    assert "Good" in page.text
    assert plugins.hook_failures[0].error == message


def test_the_hook_of_a_built_report_finds_it_on_the_disk(run, tmp_path):
    seen = []

    def built(context):
        seen.append((context.folder, context.report, context.report.is_file()))

    out = tmp_path / "new/page.html"
    assert write_report(run, out, manager(built, "flowkit_report_built")) == out
    assert seen == [(run, out, True)]


def test_a_section_says_something_and_an_image_is_described():
    with pytest.raises(ValueError, match="section 'Empty' is empty"):
        Section("Empty")
    with pytest.raises(ValueError, match="needs `alt`"):
        Image(png(), " ")


WITHOUT_TORCH = """
import sys
from flowkit.cli.main import main
sys.argv = ["flowkit", "report", sys.argv[1], "--out", sys.argv[2]]
try:
    main()
finally:
    heavy = [name for name in ("torch", "matplotlib", "numpy") if name in sys.modules]
    assert not heavy, heavy
"""


def flowkit_report(run, out):
    command = [sys.executable, "-c", WITHOUT_TORCH, str(run), str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_the_command_draws_and_measures_what_is_missing(tiny, tmp_path):
    tiny.build().fit(tmp_path / "run")
    output = flowkit("report", "run", "--draw", "--out", "page.html", cwd=tmp_path)
    assert "2-Wasserstein: " in output
    assert output.endswith("report    page.html\n")
    assert (tmp_path / "run/samples.png").is_file()
    assert RunFolder(tmp_path / "run").evaluation()["step"] == 20
    assert len(Page(tmp_path / "page.html").all("img")) == len(Page(tmp_path / "run/report.html").all("img")) > 0
    (tmp_path / "run/samples.png").unlink()
    assert "is a folder" in flowkit("report", "run", "--draw", "--out", ".", cwd=tmp_path, code=2)
    assert not (tmp_path / "run/samples.png").exists()  # refused before any work


def test_the_command_writes_the_page_without_torch_and_refuses_in_words(run, tmp_path):
    code, output = flowkit_report(run, tmp_path / "page.html")
    assert (code, output) == (0, f"report    {tmp_path / 'page.html'}\n")
    assert Page(tmp_path / "page.html").all("img")
    code, output = flowkit_report(tmp_path, tmp_path / "page.html")
    assert (code, "there is no run here" in output) == (2, True)
    code, output = flowkit_report(run, tmp_path)
    assert (code, "is a folder; name a file" in output) == (2, True)
