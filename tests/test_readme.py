"""The README's examples of methods are complete: written to files, they run."""

from __future__ import annotations

from pathlib import Path

from printed import files

from pcbench.records.store import read_runs

README = Path(__file__).parents[1] / "README.md"
TINY = ("--set", "points=16", "--set", "iterations=2", "--set", "recipe.epochs=1", "--seeds", "1")


def test_the_example_methods_run(pcbench, tmp_path):
    sources = files(README)
    (tmp_path / "my_methods").mkdir()
    for name, source in sources.items():
        (tmp_path / name).write_text(source, encoding="utf-8")
    for words in (("jitter", "--set", "sigma=0.1"), ("means",)):
        done = pcbench("run", "--plugins", "my_methods", "--method", *words, *TINY)
        assert done.code == 0, done.err
    runs, problems = read_runs(tmp_path / "results")
    assert problems == []
    inputs = {run.distillation.inputs.method: run.distillation.inputs for run in runs}
    assert sorted(inputs) == ["jitter", "means"] == sorted(Path(name).stem for name in sources)
    assert inputs["jitter"].variation == {"sigma": 0.1}
    assert [len(run.evaluations) for run in runs] == [1, 1]
