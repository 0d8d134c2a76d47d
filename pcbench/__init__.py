"""pcbench: benchmark and leaderboard for dataset distillation of 3D point clouds."""

__version__ = "0.1.0"
