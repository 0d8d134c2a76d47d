"""Files of plugins that tests write."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

METHOD = '''
from pcbench.api import Method, Snapshot


class {cls}(Method):
    """{summary}

    More words.
    """

    name = "{name}"

    def distill(self, task):
        yield Snapshot(0, task.train)
'''


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(text))
    return path


def method(path: Path, name: str, cls: str = "Mine", summary: str = "A method of mine.") -> Path:
    return write(path, METHOD.format(name=name, cls=cls, summary=summary))
