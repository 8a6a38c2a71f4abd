"""The engine for staff: the log, checkpoints, clients, and the review of conflicts."""

from __future__ import annotations

from django.contrib import admin

from syncing.client_admin import SyncCheckpointAdmin, SyncClientAdmin
from syncing.log_admin import SyncEventAdmin
from syncing.models import SyncCheckpoint, SyncClient, SyncConflict, SyncEvent
from syncing.review_admin import SyncConflictAdmin

admin.site.register(SyncConflict, SyncConflictAdmin)
admin.site.register(SyncEvent, SyncEventAdmin)
admin.site.register(SyncClient, SyncClientAdmin)
admin.site.register(SyncCheckpoint, SyncCheckpointAdmin)
