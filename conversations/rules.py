"""Names of the rules that the database holds for sessions and messages, and what a broken one is called."""

from __future__ import annotations

from syncing import RuleBroken, rule

#: Characters of one message.
MAX_CONTENT = 1_000_000

SESSION_STATUS = "sessions_status"
SESSION_ENDS_AFTER_START = "sessions_ends_after_start"
SESSION_IMPORTED_ONCE = "sessions_imported_once"

MESSAGE_ROLE = "messages_role"
MESSAGE_CONTENT_LENGTH = "messages_content_length"
MESSAGE_TOKENS = "messages_tokens"
MESSAGE_COST = "messages_cost"
MESSAGE_TEMPERATURE = "messages_temperature"
MESSAGE_NUMBER = "messages_session_number"
MESSAGE_OWN_PARENT = "messages_not_its_own_parent"
#: Target of the parent's foreign key, which is the pair (session, message).
MESSAGE_IN_SESSION = "messages_session_id_id"
MESSAGE_PARENT = "messages_parent_in_session"


class UnknownStatus(RuleBroken):
    """A session is active, paused, completed or in error."""

    fields = ("status",)


class EndsBeforeStart(RuleBroken):
    """A session cannot end before it started."""

    fields = ("ended_at",)


class AlreadyImported(RuleBroken):
    """This conversation has been imported for this user."""


class UnknownRole(RuleBroken):
    """A message is by user, assistant, system or tool."""

    fields = ("role",)


class ContentTooLong(RuleBroken):
    """A message has at most 1,000,000 characters."""

    fields = ("content",)


class NegativeTokens(RuleBroken):
    """A message cannot have less than no tokens."""

    fields = ("tokens",)


class NegativeCost(RuleBroken):
    """A message cannot cost less than nothing."""

    fields = ("cost",)


class BadTemperature(RuleBroken):
    """A temperature lies between 0 and 2."""

    fields = ("temperature",)


class ParentElsewhere(RuleBroken):
    """A message replies to another message of the same session."""

    fields = ("parent_id",)


for _constraint, _error in {
    SESSION_STATUS: UnknownStatus,
    SESSION_ENDS_AFTER_START: EndsBeforeStart,
    SESSION_IMPORTED_ONCE: AlreadyImported,
    MESSAGE_ROLE: UnknownRole,
    MESSAGE_CONTENT_LENGTH: ContentTooLong,
    MESSAGE_TOKENS: NegativeTokens,
    MESSAGE_COST: NegativeCost,
    MESSAGE_TEMPERATURE: BadTemperature,
    MESSAGE_OWN_PARENT: ParentElsewhere,
    MESSAGE_PARENT: ParentElsewhere,
}.items():
    rule(_constraint, _error)
