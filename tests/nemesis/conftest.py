"""Clusters of one's own, for tests that crash them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nemesis.cluster import Cluster, cluster_like, migrated


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated data directory, which all workers copy."""
    base = tmp_path_factory.getbasetemp()
    return migrated(base.parent if base.name.startswith("popen-") else base)


@pytest.fixture
def cluster(template: Path) -> Iterator[Cluster]:
    """A migrated cluster that runs; nobody else uses it."""
    with cluster_like(template) as cluster:
        yield cluster.start()
