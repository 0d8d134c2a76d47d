"""A command in a pseudo-terminal of a given width, as a user at a terminal sees it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Sequence
from pathlib import Path


def in_terminal(
    command: Sequence[str], folder: Path, columns: int, errors: bool = True, interrupt_at: str = ""
) -> tuple[int, str]:
    """The exit code of a command run in a folder, and what it prints, without colours and cursor movements.

    errors: whether standard error goes to the terminal too, else nowhere; interrupt_at: Ctrl-C is pressed
    where this appears.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    with subprocess.Popen(
        command,
        cwd=folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs if errors else subprocess.DEVNULL,
        env=environment | {"TERM": "xterm"},
        start_new_session=True,
    ) as process:
        os.close(theirs)
        text = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # Linux's way to say that the other end is closed
                break
            if not part:
                break
            text += part
            if interrupt_at and interrupt_at.encode() in text:
                os.write(ours, b"\x03")
                interrupt_at = ""
    os.close(ours)
    return process.returncode, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.decode()).replace("\r\n", "\n")
