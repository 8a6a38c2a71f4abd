"""Facts about memories, told by the services after the commit that made them true."""

from __future__ import annotations

from django.dispatch import Signal

#: memory
memory_remembered = Signal()
#: memory (the new version), previous
memory_revised = Signal()
#: count: how many were deleted because their time was over
memories_expired = Signal()
