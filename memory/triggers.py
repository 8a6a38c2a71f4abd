"""What the database keeps right in memories, whoever writes."""

from __future__ import annotations

import pgtrigger

from memory.rules import BELONGS
from syncing import DefinerTrigger

# The key of the previous version is checked at commit: until then the successors of what is gone can be let go.
DETACH_SUCCESSORS = """
    IF EXISTS (
        SELECT FROM removed_memories gone JOIN public.memory m ON m.previous_version_id = gone.id
    ) THEN
        UPDATE public.memory AS successor SET previous_version_id = NULL FROM removed_memories gone
        WHERE successor.previous_version_id = gone.id;
    END IF;
    RETURN NULL;
"""

MEMORY_TRIGGERS = [
    # The CHECK of the same name would say it too late: without an owner the row has no scope, which is found out first.
    DefinerTrigger(
        name="bb_belongs",
        when=pgtrigger.Before,
        operation=pgtrigger.Insert | pgtrigger.Update,
        condition=pgtrigger.Condition("NEW.user_id IS NULL AND NEW.project_id IS NULL AND NEW.session_id IS NULL"),
        func=f"""
            RAISE check_violation USING
                MESSAGE = 'a memory belongs to a user, a project or a session',
                CONSTRAINT = '{BELONGS}', TABLE = 'memory', SCHEMA = 'public';
        """,
    ),
    DefinerTrigger(
        name="oo_detach_successors",
        level=pgtrigger.Statement,
        when=pgtrigger.After,
        operation=pgtrigger.Delete,
        referencing=pgtrigger.Referencing(old="removed_memories"),
        func=DETACH_SUCCESSORS,
    ),
]
