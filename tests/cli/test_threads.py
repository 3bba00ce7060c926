"""How the command line sets up PyTorch's threads."""

import os

import pytest

from flowkit.cli import main as cli


@pytest.mark.parametrize(
    ("given", "spins"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "5"}, "5"), ({"OMP_WAIT_POLICY": "PASSIVE"}, None)],
)
def test_threads_that_wait_long_sleep_unless_the_environment_says_otherwise(given, spins, monkeypatch):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")  # so that it is as before in the end
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(cli, "app", lambda: None)
    monkeypatch.setattr(cli, "_warn_in_words", lambda: None)
    cli.main()
    assert os.environ.get("GOMP_SPINCOUNT") == spins
