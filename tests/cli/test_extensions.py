"""Commands of plugins: listed without being imported, called like flowkit's own, in nobody's way."""

import logging
import os
import subprocess
import sys
import types

import pytest
import typer

from flowkit.cli.main import app, main
from flowkit.errors import PluginError, UnknownComponentError
from flowkit.plugins import Command, PluginManager, hookimpl, installed_plugins

PLUGIN = """
from flowkit.plugins import Command, hookimpl


@hookimpl
def flowkit_commands():
    yield Command("greet", "flowkit_greet.commands:greet", "Say hello.")
    yield Command("greetings", "flowkit_greet.commands:app", "Say more.")
    yield Command("broken", "flowkit_greet.missing:command", "Cannot be imported.")
    yield Command("train", "flowkit_greet.commands:greet", "Not flowkit's.")


@hookimpl
def flowkit_configuration_built(context):
    raise RuntimeError("no luck today")
"""
COMMANDS = """
import typer


def greet(name: str, times: int = 1):
    "Say hello to somebody."
    print(" ".join([f"hello {name}"] * times))


app = typer.Typer(add_completion=False)
app.command()(greet)


@app.command()
def leave():
    print("bye")
"""
WITHOUT_IMPORT = """
import sys
from flowkit.cli.main import app
app(["--help"], standalone_mode=False)
heavy = [name for name in ("torch", "flowkit_greet.commands") if name in sys.modules]
assert not heavy, heavy
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which a package with commands looks installed."""
    folder = tmp_path_factory.mktemp("greet")
    package, info = folder / "flowkit_greet", folder / "flowkit_greet-0.2.dist-info"
    package.mkdir()
    info.mkdir()
    (package / "plugin.py").write_text(PLUGIN)
    (package / "commands.py").write_text(COMMANDS)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: flowkit-greet\nVersion: 0.2\n")
    (info / "entry_points.txt").write_text("[flowkit]\ngreet = flowkit_greet.plugin\n")
    return folder


@pytest.fixture
def flowkit(folder, monkeypatch, capfd):
    """Runs the command in that folder, in this process; its output, after checking its exit code."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("COLUMNS", "200")
    installed_plugins.cache_clear()

    def run(*arguments, code=0):
        monkeypatch.setattr(sys, "argv", ["flowkit", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        output = "".join(capfd.readouterr())
        assert (end.value.code or 0) == code, output
        return output

    yield run
    installed_plugins.cache_clear()


def test_listing_commands_imports_none_of_them(folder):
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    subprocess.run([sys.executable, "-c", WITHOUT_IMPORT], cwd=folder, env=environment, check=True)


def test_help_and_plugins_list_a_command_with_its_summary_and_package(flowkit):
    assert "Say hello. (from flowkit-greet)" in flowkit("--help")
    output = flowkit("plugins")
    assert "command greet" in output
    assert "hook configuration_built" in output


def test_a_function_and_a_typer_app_are_called_like_our_own(flowkit):
    assert flowkit("greet", "you", "--times", "2") == "hello you hello you\n"
    assert flowkit("greetings", "greet", "you") == "hello you\n"
    assert flowkit("greetings", "leave") == "bye\n"
    help_text = flowkit("greet", "-h")
    assert "flowkit greet" in help_text
    assert "Say hello to somebody." in help_text
    assert "Missing argument" in flowkit("greet", code=2)


def test_a_broken_target_gets_one_line_and_leaves_the_others_alone(flowkit):
    assert flowkit("broken", code=1) == (
        "error: command 'broken' of flowkit-greet 0.2 cannot be used: flowkit_greet.missing:command: "
        "ModuleNotFoundError: No module named 'flowkit_greet.missing'\n"
    )


def test_flowkits_own_commands_stay_and_the_other_needs_its_package(flowkit):
    output = flowkit("--help")
    assert "flowkit-greet/train" in output
    assert "Not flowkit's. (from flowkit-greet; 'train' alone is flowkit's own)" in output
    assert flowkit("flowkit-greet/train", "you") == "hello you\n"
    assert "there is no recipe 'you'" in flowkit("train", "you", code=2)


def test_a_hook_that_fails_is_one_line_of_a_command_and_debug_shows_where_it_was(flowkit, folder):
    logger, command = logging.getLogger("flowkit"), ["train", "moons", "training.steps=2", "--no-report"]
    line = "plugin flowkit-greet:greet 0.2: flowkit_configuration_built raised RuntimeError: no luck today"
    before = logger.handlers[:], logger.level
    try:
        output = flowkit("--debug", *command)
    finally:
        logger.handlers[:] = before[0]
        logger.setLevel(before[1])
    assert output.count(line) == 1
    assert "in flowkit_configuration_built" in output
    assert (folder / "runs/moons/checkpoints/step-00000002").is_dir()


def installed(monkeypatch, **plugins):
    """Let flowkit see these plugins alone: each a distribution with its commands, or what its hook raises."""
    manager = PluginManager({})
    for distribution, commands in plugins.items():

        def flowkit_commands(commands=commands):
            if isinstance(commands, Exception):
                raise commands
            return commands

        plugin = types.SimpleNamespace(flowkit_commands=hookimpl(flowkit_commands))
        manager.add(plugin, f"{distribution}:main", distribution, "0.2")
    monkeypatch.setattr("flowkit.cli.extensions.installed_plugins", lambda: manager)
    return manager


def call(*arguments):
    return app(list(arguments), standalone_mode=False)


def test_a_name_that_two_plugins_claim_is_an_error_that_names_both_and_each_has_a_way(monkeypatch, capsys):
    installed(monkeypatch, one=[Command("hello", lambda: print("1"))], two=[Command("hello", lambda: print("2"))])
    with pytest.raises(UnknownComponentError, match="by one:main and two:main: write one/hello or two/hello"):
        call("hello")
    call("two/hello")
    assert capsys.readouterr().out == "2\n"
    call("--help")
    output = capsys.readouterr().out
    assert "one/hello" in output
    assert "two/hello" in output


def test_an_unknown_command_suggests_those_of_plugins_and_says_who_did_not_load(monkeypatch):
    installed(monkeypatch, one=[Command("hello", print)], two=RuntimeError("no luck"))
    with pytest.raises(UnknownComponentError, match=r"no command 'hallo' \(did you mean 'hello'\?\)") as caught:
        call("hallo")
    assert "plugin two:main did not load, and may have provided it: RuntimeError: no luck" in str(caught.value)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("os:sep", "is neither a function nor a typer.Typer"),
        ("os:no_such_function", "AttributeError"),
        (typer.Typer(), "Could not get a command"),
    ],
)
def test_what_is_no_command_is_refused_with_its_package(target, message, monkeypatch):
    installed(monkeypatch, one=[Command("hello", target)])
    with pytest.raises(PluginError, match=rf"command 'hello' of one 0\.2 cannot be used: .*{message}"):
        call("hello")


def test_wrong_declarations_are_refused():
    with pytest.raises(ValueError, match="lower case"):
        Command("Say hello", "a.b:c")
    with pytest.raises(ValueError, match=r"not of the form 'package\.module:Name'"):
        Command("hello", "a.b.c")
    twice = types.SimpleNamespace(flowkit_commands=hookimpl(lambda: [Command("hello", print)] * 2))
    record = PluginManager({}).add(twice, "one:main", "one")
    assert "command 'hello' is declared twice" in record.error
