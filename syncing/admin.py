"""The engine for staff: conflicts, the log, clients, checkpoints, and what is measured."""

from __future__ import annotations

from django.contrib import admin

from syncing.client_admin import SyncCheckpointAdmin, SyncClientAdmin
from syncing.log_admin import SyncEventAdmin
from syncing.models import (
    MutationReceipt,
    SyncAlert,
    SyncCheckpoint,
    SyncClient,
    SyncConflict,
    SyncEvent,
    SyncMetric,
    SyncOrder,
    SyncProcess,
    SyncTask,
)
from syncing.monitoring_admin import (
    MutationReceiptAdmin,
    SyncAlertAdmin,
    SyncMetricAdmin,
    SyncOrderAdmin,
    SyncProcessAdmin,
    SyncTaskAdmin,
)
from syncing.review_admin import SyncConflictAdmin

admin.site.register(SyncConflict, SyncConflictAdmin)
admin.site.register(SyncEvent, SyncEventAdmin)
admin.site.register(SyncClient, SyncClientAdmin)
admin.site.register(SyncCheckpoint, SyncCheckpointAdmin)
admin.site.register(SyncAlert, SyncAlertAdmin)
admin.site.register(SyncProcess, SyncProcessAdmin)
admin.site.register(SyncTask, SyncTaskAdmin)
admin.site.register(SyncOrder, SyncOrderAdmin)
admin.site.register(SyncMetric, SyncMetricAdmin)
admin.site.register(MutationReceipt, MutationReceiptAdmin)
