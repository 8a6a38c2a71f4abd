"""What the database does by itself about accounts: one spelling of e-mails, and word to the servers of lost access.

Servers listen on the channel `claudia_access` and close connections at once: `{"user": id}` all of a person's,
`{"user": id, "sessions": true}` those that came with a session cookie, `{"token": id}` those that came with the token.
"""

from __future__ import annotations

import pgtrigger

import syncing

CHANNEL = "claudia_access"

#: The unique index ignores case; this also makes what is shown and exported the same whoever writes.
NORMALISE_EMAIL = [
    syncing.DefinerTrigger(
        name=f"nn_normalise_email_{name}",
        when=pgtrigger.Before,
        operation=operation,
        condition=pgtrigger.Condition("NEW.email <> lower(btrim(NEW.email))"),
        func="NEW.email := lower(btrim(NEW.email)); RETURN NEW;",
    )
    for name, operation in (("insert", pgtrigger.Insert), ("update", pgtrigger.Update))
]


def announce(name: str, operation: pgtrigger.Operation, condition: str, payload: str) -> pgtrigger.Trigger:
    """A notification by row: the condition keeps the trigger from being called for all other writes."""
    return syncing.DefinerTrigger(
        name=name,
        when=pgtrigger.After,
        operation=operation,
        condition=pgtrigger.Condition(condition) if condition else None,
        func=f"PERFORM pg_notify('{CHANNEL}', {payload}::text); RETURN NULL;",
    )


ANNOUNCE_USER = [
    announce(
        "zn_announce_deactivated",
        pgtrigger.Update,
        "OLD.is_active AND NOT NEW.is_active",
        "jsonb_build_object('user', NEW.id)",
    ),
    announce(
        "zn_announce_password",
        pgtrigger.Update,
        "OLD.password IS DISTINCT FROM NEW.password AND NOT (OLD.is_active AND NOT NEW.is_active)",
        "jsonb_build_object('user', NEW.id, 'sessions', true)",
    ),
    announce("zn_announce_deleted", pgtrigger.Delete, "", "jsonb_build_object('user', OLD.id)"),
]

ANNOUNCE_TOKEN = [
    announce(
        "zn_announce_revoked",
        pgtrigger.Update,
        "ROW(OLD.revoked_at, OLD.expires_at) IS DISTINCT FROM ROW(NEW.revoked_at, NEW.expires_at)",
        "jsonb_build_object('token', OLD.id)",
    ),
    announce("zn_announce_deleted", pgtrigger.Delete, "", "jsonb_build_object('token', OLD.id)"),
]
