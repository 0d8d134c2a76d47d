"""The README's example of a method is complete: written to a file, it runs."""

from __future__ import annotations

import re
from pathlib import Path

from pcbench.records.store import read_runs

README = Path(__file__).parents[1] / "README.md"


def test_the_example_method_runs(pcbench, tmp_path):
    (source,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    folder = tmp_path / "my_methods"
    folder.mkdir()
    (folder / "jitter.py").write_text(source, encoding="utf-8")
    tiny = ("--set", "points=16", "--set", "recipe.epochs=1", "--seeds", "1")
    done = pcbench("run", "--plugins", "my_methods", "--method", "jitter", "--set", "sigma=0.1", *tiny)
    assert done.code == 0, done.err
    (run,), problems = read_runs(tmp_path / "results")
    assert problems == []
    assert run.distillation.inputs.variation == {"sigma": 0.1}
    assert len(run.evaluations) == 1
