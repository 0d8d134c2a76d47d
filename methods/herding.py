"""The coreset whose mean follows the class mean."""

from __future__ import annotations

from ._greedy import Greedy


class Herding(Greedy):
    """Training clouds chosen so that their mean feature stays near the class mean (Welling 2009)."""

    name = "herding"
    how = "herding"
