"""How the command line sets up PyTorch's threads."""

import os

import pytest

from flowkit.cli import main as cli


@pytest.mark.parametrize(("given", "expected"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_waiting_threads_sleep_unless_the_environment_says_otherwise(
    given: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", given or "")
    if given is None:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    monkeypatch.setattr(cli, "app", lambda: None)
    monkeypatch.setattr(cli, "_warn_in_words", lambda: None)
    cli.main()
    assert os.environ["OMP_WAIT_POLICY"] == expected
