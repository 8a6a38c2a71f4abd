"""Facts about agents, told after the commit that made them true, by the services."""

from __future__ import annotations

from django.dispatch import Signal

#: agent
agent_created = Signal()
#: agent, succeeded, duration
run_recorded = Signal()
#: agent
status_changed = Signal()
#: agent
agent_published = Signal()
#: agent
agent_withdrawn = Signal()
