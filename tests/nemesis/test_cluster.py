"""The clusters themselves do what the tests on them believe."""

from __future__ import annotations

import psycopg
import pytest

from tests.nemesis.cluster import Cluster

INSERT = "INSERT INTO users (email, name) VALUES (%s, 'X')"
EMAILS = "SELECT email FROM users ORDER BY email"


def test_a_crash_loses_what_is_not_flushed_and_nothing_else(cluster: Cluster) -> None:
    cluster.stop()
    cluster.start(wal_writer_delay="10s")
    cluster.sql(INSERT, "kept@example.org")
    with cluster.connect() as connection:
        connection.execute("SET synchronous_commit = off")
        connection.execute(INSERT, ["lost@example.org"])
        cluster.stop("immediate")
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    cluster.start()
    assert cluster.sql(EMAILS) == [("kept@example.org",)]


def test_a_killed_backend_takes_the_others_with_it(cluster: Cluster) -> None:
    with cluster.connect(application_name="victim") as victim, cluster.connect() as other:
        victim.execute("SELECT 1")
        [pid] = cluster.backends("victim")
        cluster.kill(pid)
        with pytest.raises(psycopg.OperationalError):
            other.execute("SELECT pg_sleep(60)")


def test_a_standby_follows_and_is_promoted(cluster: Cluster) -> None:
    standby = cluster.standby()
    try:
        cluster.sql(INSERT, "a@example.org")
        position = cluster.sql("SELECT pg_current_wal_lsn()::text")[0][0]
        standby.wait_for(position)
        assert standby.sql(EMAILS) == [("a@example.org",)]
        standby.promote()
        standby.sql(INSERT, "b@example.org")
        assert standby.identifier == cluster.identifier
    finally:
        standby.remove()


def test_a_dump_makes_another_cluster_of_the_same_rows(cluster: Cluster) -> None:
    cluster.sql(INSERT, "a@example.org")
    other = Cluster.create()
    try:
        other.start().restore(cluster.dump())
        assert other.sql(EMAILS) == [("a@example.org",)]
        assert other.identifier != cluster.identifier
    finally:
        other.remove()


def test_it_is_reached_by_its_socket_too(cluster: Cluster) -> None:
    with psycopg.connect(cluster.socket_url) as connection:
        assert connection.execute("SELECT inet_server_addr()").fetchone() == (None,)
