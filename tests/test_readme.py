"""The README's examples of methods are complete: written to files, they run."""

from __future__ import annotations

import re
from pathlib import Path

from pcbench.records.store import read_runs

README = Path(__file__).parents[1] / "README.md"
TINY = ("--set", "points=16", "--set", "iterations=2", "--set", "recipe.epochs=1", "--seeds", "1")


def test_the_example_methods_run(pcbench, tmp_path):
    sources = re.findall(
        r'```python\n"""my_methods/(\w+)\.py"""\n(.*?)```', README.read_text(encoding="utf-8"), re.DOTALL
    )
    folder = tmp_path / "my_methods"
    folder.mkdir()
    for name, source in sources:
        (folder / f"{name}.py").write_text(source, encoding="utf-8")
    for words in (("jitter", "--set", "sigma=0.1"), ("means",)):
        done = pcbench("run", "--plugins", "my_methods", "--method", *words, *TINY)
        assert done.code == 0, done.err
    runs, problems = read_runs(tmp_path / "results")
    assert problems == []
    inputs = {run.distillation.inputs.method: run.distillation.inputs for run in runs}
    assert sorted(inputs) == ["jitter", "means"] == sorted(name for name, _ in sources)
    assert inputs["jitter"].variation == {"sigma": 0.1}
    assert [len(run.evaluations) for run in runs] == [1, 1]
