"""Clusters of one's own, for tests that crash them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.site import Site
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


@pytest.fixture
def own_site(cluster: Cluster, tmp_path: Path) -> Iterator[Site]:
    """The running cluster's database as a site; no server serves it yet."""
    site = Site(cluster.url, tmp_path)
    site.connect()
    yield site
    site.close()
