"""Gradient matching that starts from representative clouds."""

from __future__ import annotations

from pcbench.api import param
from pcbench.ops.coreset import Initialisation

from .dc import DC


class PCC(DC):
    """DC started from herding (Zhang, Wang, Xu, Yang, Liu 2024).

    "PCC is equivalent to performing DC with Herding initialization" (Yim, Kim, Sim 2025).
    """

    name = "pcc"

    class Params(DC.Params):
        init: Initialisation = param("herding", "what the synthetic clouds start from", source="paper")
