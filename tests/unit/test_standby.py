"""A standby that is not used has no part in what happens to reads of the primary's."""

from __future__ import annotations

import psycopg
import pytest

from syncing.log import Checkpoint
from syncing.standby import Refused, Standby, refusal

CHECKPOINT = Checkpoint(1, "0" * 16, "10:10:")


def test_an_error_of_the_primarys_is_not_the_standbys() -> None:
    standby = Standby("postgres://nowhere.invalid/claudia", lag_seconds=0, most_events=1)
    with pytest.raises(psycopg.OperationalError, match="of the primary"):
        fail_on_the_primary(standby)
    assert standby.trouble is None


def fail_on_the_primary(standby: Standby) -> None:
    with standby.view(CHECKPOINT, ["users"]) as view:
        assert view is None
        raise psycopg.OperationalError("of the primary")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Refused("behind", "…"), "behind"),
        (psycopg.errors.SerializationFailure("secret"), "conflict"),
        (psycopg.errors.ConnectionTimeout("secret"), "unreachable"),
        (psycopg.errors.TooManyConnections("secret"), "unreachable"),
        (psycopg.DatabaseError("secret"), "lost"),
        (psycopg.errors.InsufficientPrivilege("secret"), "failed"),
    ],
)
def test_what_postgresql_says_is_told_as_a_kind_only(error: Exception, code: str) -> None:
    refused = refusal(error)
    assert refused.code == code
    assert "secret" not in str(refused)
