"""Methods, backbones and data sets: found by reading their files, loaded when they are asked for."""

from pcbench.catalogue.registry import Catalogue, Datasets, Registry, open_catalogue

__all__ = ["Catalogue", "Datasets", "Registry", "open_catalogue"]
