"""Writes the golden values of the current engine: `python tests/golden/write.py`, after ENGINE was raised."""

from __future__ import annotations

import json

import golden_values

if __name__ == "__main__":
    golden_values.FILE.write_text(json.dumps(dict(golden_values.everything()), indent=1) + "\n")
    print(f"wrote {golden_values.FILE}")
