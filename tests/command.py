"""The `flowkit` command run in this process: a process of its own would spend its seconds on imports."""

import contextlib
import io
import sys
import warnings

import pytest

from flowkit.cli.main import main
from flowkit.errors import FlowkitWarning


def flowkit(*arguments, cwd, code=0):
    """Run the command in a folder; its output, after checking its exit code and that there is no traceback."""
    printed = io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
        warnings.catch_warnings(),  # main replaces `showwarning`
    ):
        warnings.simplefilter("default", FlowkitWarning)
        patch.chdir(cwd)
        patch.setenv("COLUMNS", "200")
        patch.setattr(sys, "argv", ["flowkit", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
    output = printed.getvalue()
    assert (ended.value.code or 0) == code, output
    assert "Traceback" not in output
    return output
