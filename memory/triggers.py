"""What the database keeps right in memories, whoever writes."""

from __future__ import annotations

import pgtrigger

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
    DefinerTrigger(
        name="oo_detach_successors",
        level=pgtrigger.Statement,
        when=pgtrigger.After,
        operation=pgtrigger.Delete,
        referencing=pgtrigger.Referencing(old="removed_memories"),
        func=DETACH_SUCCESSORS,
    )
]
