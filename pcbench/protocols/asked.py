"""What a protocol asks of whoever is ranked under it: at which PPC, and how many repetitions of each.

None of it enters a key: results of more or fewer repetitions are the same work, and are compared on those
that they have in common.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pcbench.common.text import counted


@dataclass(frozen=True)
class Asked:
    """The cells and repetitions that a rank is about."""

    ppc: tuple[int, ...]
    """Point clouds per class; others are shown beside, and take nothing from anybody."""
    smallest: int
    """Repetitions at the smallest of them, where the draw of the first clouds decides most."""
    larger: int
    """Repetitions at the others."""

    def repetitions(self, ppc: int) -> int:
        """How many repetitions count at a PPC: the first ones, so that nobody chooses among them."""
        return self.smallest if ppc == self.ppc[0] else self.larger

    @property
    def text(self) -> str:
        """`5 repetitions at PPC 1 and 3 at PPC 3, 10`."""
        first, *others = (str(ppc) for ppc in self.ppc)
        rest = ", ".join(others)
        if self.smallest == self.larger:
            return f"{counted(self.smallest, 'repetition')} at PPC {first}, {rest}"
        return f"{self.smallest} repetitions at PPC {first} and {self.larger} at PPC {rest}"


PPC = (1, 3, 10)
"""Those of the paper's tables."""
USUAL = Asked(PPC, smallest=5, larger=3)
ASKED: Mapping[str, Asked] = {
    "paper": USUAL,
    "lite": USUAL,
    "quick": USUAL,
    "standard": Asked(PPC, smallest=1, larger=1),
}
"""By the name of a standard protocol. A custom one asks what its base does."""


def asked(base: str) -> Asked:
    """What the protocol of that name asks for; of a name that is not known, what most do."""
    return ASKED.get(base, USUAL)
