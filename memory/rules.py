"""Names of the rules that the database holds for memories, and what a broken one is called."""

from __future__ import annotations

from syncing import RuleBroken, rule

TYPE = "memory_type"
BELONGS = "memory_belongs_to_something"
IMPORTANCE = "memory_importance"
FREQUENCY = "memory_frequency"
VERSION = "memory_version"
KEY = "memory_key"
#: A memory is revised once; its successor can be revised in turn.
REVISED_ONCE = "memory_revised_once"


class UnknownType(RuleBroken):
    """A memory is a user_preference, session_context, project_state or agent_learning."""

    fields = ("type",)


class BelongsToNothing(RuleBroken):
    """A memory belongs to a user, a project or a session."""

    fields = ("user_id", "project_id", "session_id")


class BadImportance(RuleBroken):
    """Importance goes from 1 to 10."""

    fields = ("importance",)


class NoKey(RuleBroken):
    """A memory needs a key."""

    fields = ("key",)


class AlreadyRevised(RuleBroken):
    """This memory has been revised already: revise its newest version."""

    fields = ("previous_version_id",)


for _constraint, _error in {
    TYPE: UnknownType,
    BELONGS: BelongsToNothing,
    IMPORTANCE: BadImportance,
    KEY: NoKey,
    REVISED_ONCE: AlreadyRevised,
}.items():
    rule(_constraint, _error)
