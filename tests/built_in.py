"""What comes with pcbench, opened once for all tests, also for those that are parametrised by its names."""

from __future__ import annotations

from pcbench.catalogue import open_catalogue

CATALOGUE = open_catalogue()
