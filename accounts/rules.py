"""The rules that the database holds about accounts, by name, and what breaking one means."""

from __future__ import annotations

import syncing

EMAIL_UNIQUE = "users_email_unique"
EMAIL_UNIQUE_AS_WRITTEN = "users_email_unique_as_written"
EMAIL_NOT_EMPTY = "users_email_not_empty"
TOKEN_DIGEST_UNIQUE = "api_tokens_digest_unique"  # noqa: S105 - a constraint's name


class EmailTaken(syncing.RuleBroken):
    """There is already an account with this e-mail address."""

    fields = ("email",)


class EmailMissing(syncing.RuleBroken):
    """An account needs an e-mail address."""

    fields = ("email",)


syncing.rule(EMAIL_UNIQUE, EmailTaken)
syncing.rule(EMAIL_UNIQUE_AS_WRITTEN, EmailTaken)
syncing.rule(EMAIL_NOT_EMPTY, EmailMissing)
