"""A small file of clouds, as the viewer of the site reads it."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np

CLASSES, PPC, POINTS = ["chair", "table"], 2, 256


def clouds_file(key: str, **changes: Any) -> str:
    """A file of clouds as the site holds it: boxes of other proportions for every class and set."""
    draw = np.random.default_rng(0)
    shape = (len(CLASSES), PPC, POINTS, 3)
    sides = {
        "initial": (0, (0.5, 0.5, 0.5)),
        "distilled": (60, (0.2, 0.7, 0.2)),
        "nearest real cloud": (None, (0.7, 0.2, 0.2)),
    }
    sets = [
        {
            "words": words,
            "points": POINTS,
            "iteration": iteration,
            "values": base64.b64encode(
                np.round(draw.uniform(-1, 1, shape) * side / 1.5 * 32767).astype("<i2").tobytes()
            ).decode(),
        }
        for words, (iteration, side) in sides.items()
    ]
    content = {"classes": CLASSES, "ppc": PPC, "scale": 1.5, "sets": sets} | changes
    return f'pcbenchClouds("{key}", {json.dumps(content)})\n'
