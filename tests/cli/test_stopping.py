"""Stopping a command: the exit code is the same whenever further signals arrive."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

LATE = """
import os, sys, time
from pcbench.cli.stopping import EXIT_CODE, stop_at_signals

class Late:
    def __del__(self, write=os.write, sleep=time.sleep):
        write(1, b"late")
        sleep(0.5)

late = Late()
stop_at_signals()
sys.exit(EXIT_CODE)
"""
"""Ends, and takes half a second for it, when Python has taken its handlers away."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_python_shuts_down_does_not_change_the_exit_code(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", LATE], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(4) == b"late"
        process.send_signal(number)
        assert process.wait(30) == 130
