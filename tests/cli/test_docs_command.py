"""`pcbench docs` has every page, and every message that names a page names one that there is."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_pages_are_listed_and_printed(pcbench) -> None:
    listed = pcbench("docs", "--json")
    names = [each["name"] for each in json.loads(listed.out)]
    assert names == ["readme", *sorted(path.stem for path in (ROOT / "docs").glob("*.md"))]
    assert all(each["title"] for each in json.loads(listed.out))
    assert pcbench("docs", "data").out == (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    done = pcbench("docs", "dota")
    assert (done.code, "Did you mean data?" in done.err) == (2, True)


def test_messages_name_pages_that_there_are() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "pcbench").rglob("*.py")]
    named = {page for source in sources for page in re.findall(r"'pcbench docs (\w+)'", source)}
    assert named
    assert all((ROOT / "docs" / f"{page}.md").is_file() for page in named)
