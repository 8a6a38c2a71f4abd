"""What has to be done from time to time: the registry of maintenance tasks, which are commands of `manage.py`.

A task is declared in the `maintenance.py` of its app, found by autodiscovery:

    syncing.maintain("expire_memories", "Delete memories whose time is over.")

How often it is done is said by a setting of its own, MAINTAIN_EXPIRE_MEMORIES_HOURS; 0: only when somebody asks. A task
may be interrupted anywhere between two units of its work, and may run beside itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings

from syncing.exceptions import BadDeclaration

#: Seconds after which a task is asked to stop, unless its declaration says otherwise: another one wants its turn.
LONGEST = 3600.0


@dataclass(frozen=True)
class Task:
    """A command, and what people are told of it.

    arguments: gives those with which the command is called, whenever it is. longest: seconds that it may take.
    """

    command: str
    meaning: str
    arguments: Callable[[], Sequence[str]] = tuple
    longest: float = LONGEST

    @property
    def setting(self) -> str:
        """The name of the setting that says how often, in hours."""
        return f"MAINTAIN_{self.command.upper()}_HOURS"

    @property
    def interval(self) -> timedelta | None:
        """From one beginning to the next; None: never by itself."""
        hours: float = getattr(settings, self.setting)
        return timedelta(hours=hours) if hours else None


_registry: dict[str, Task] = {}


def tasks() -> Mapping[str, Task]:
    """All tasks by command."""
    return _registry


def maintain(
    command: str, meaning: str, *, arguments: Callable[[], Sequence[str]] = tuple, longest: float = LONGEST
) -> None:
    """Declares that the command is to be run from time to time. Raises BadDeclaration if no setting says how often."""
    task = Task(command, meaning, arguments, longest)
    if not hasattr(settings, task.setting):
        raise BadDeclaration(f"the task {command} needs the setting {task.setting}: how often, in hours; 0: never")
    _registry[command] = task
