"""Where pcbench is published stands in several files, and one command sets all of them."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
FORM = ".github/ISSUE_TEMPLATE/config.yml"
FILES = ("pyproject.toml", "CITATION.cff", "README.md", "CONTRIBUTING.md", "docs/submitting.md", FORM)


def address(root: Path) -> str:
    urls: dict[str, str] = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "urls"
    ]
    return urls["Repository"]


def cited(root: Path) -> str:
    loaded = YAML(typ="safe").load((root / "CITATION.cff").read_text(encoding="utf-8"))
    return str(loaded["repository-code"])


def test_one_command_sets_the_address_everywhere(tmp_path: Path) -> None:
    for name in (*FILES, "Makefile"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    before = address(tmp_path)
    for new in ("https://github.com/a-lab/pcbench", "https://gitlab.example/x/pcbench"):
        subprocess.run(["make", "address", f"URL={new}"], cwd=tmp_path, check=True, capture_output=True)
        assert address(tmp_path) == cited(tmp_path) == new
        for name in FILES:
            text = (tmp_path / name).read_text(encoding="utf-8")
            assert new in text, name
            assert before not in text, name
    left = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(left) == sorted([*FILES, "Makefile"])
    refused = subprocess.run(["make", "address"], cwd=tmp_path, capture_output=True, text=True)
    assert refused.returncode != 0
    assert "usage: make address URL=https://" in refused.stderr
