"""Facts about projects, told after the commit that made them true, by the services."""

from __future__ import annotations

from django.dispatch import Signal

#: project
project_created = Signal()
#: project
project_archived = Signal()
#: project
project_unarchived = Signal()
#: project, former_owner_id
project_transferred = Signal()
#: project, succeeded
build_recorded = Signal()
#: project, collaborator
collaborator_added = Signal()
#: project, collaborator
collaborator_changed = Signal()
#: project, user
collaborator_removed = Signal()
