"""What tests of importing share: a copy is imported and read back, or refused in one line."""

import numpy as np
import pytest

from pcbench.datasets import store
from pcbench.errors import DataError


def quiet(done, total):
    pass


def load(dataset, source, **options):
    """The stored clouds and the manifest."""
    dataset.import_from(source, quiet, store.ImportOptions(**options))
    manifest = dataset.manifest()
    assert store.verify(manifest.name) == manifest
    return store.load_stored(manifest.name)


def refused(dataset, source, *words, **options):
    with pytest.raises(DataError) as caught:
        dataset.import_from(source, quiet, store.ImportOptions(**options))
    for word in words:
        assert word in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert not store.stored_names()


def same(clouds, written):
    return np.array_equal(clouds.points.numpy(), written) and clouds.labels.tolist() == [*range(len(written))]
