"""The README's example of a method is complete: written to a file, it runs."""

from __future__ import annotations

import re
from pathlib import Path

from pcbench.records import read_runs

README = Path(__file__).parents[1] / "README.md"


def test_the_example_method_runs(tmp_path, monkeypatch):
    import sys

    from pcbench.cli.main import main

    (source,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    folder = tmp_path / "my_methods"
    folder.mkdir()
    (folder / "jitter.py").write_text(source, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    tiny = ["--set", "points=16", "--set", "recipe.epochs=1", "--seeds", "1"]
    words = ["run", "--plugins", "my_methods", "--method", "jitter", "--set", "sigma=0.1", *tiny]
    monkeypatch.setattr(sys, "argv", ["pcbench", *words])
    main_exit_code = 0
    try:
        main()
    except SystemExit as leave:
        main_exit_code = leave.code or 0
    assert main_exit_code == 0
    (run,), problems = read_runs(tmp_path / "results")
    assert problems == []
    assert run.distillation.inputs.variation == {"sigma": 0.1}
    assert len(run.evaluations) == 1
