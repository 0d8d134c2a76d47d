"""What the server imports before any process is forked from it."""

from __future__ import annotations

import torch

from pcbench.engine import child as child

# torch imports a second's worth of modules for the first optimiser of a process: in the server, once.
torch.optim.SGD([torch.zeros(1)], 0.1)
