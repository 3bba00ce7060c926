"""Ctrl-C and SIGTERM, held back; a second Ctrl-C is not."""

import os
import signal

import pytest

from flowkit.training.interrupt import Interrupt


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted_and_a_second_ctrl_c_breaks_in(number):
    with Interrupt() as interrupt:
        os.kill(os.getpid(), number)
        assert interrupt.signal == number
        os.kill(os.getpid(), signal.SIGTERM)  # once more is no reason to break a step
        assert interrupt.signal == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
