"""What has to be done from time to time."""

from __future__ import annotations

from django.conf import settings

import syncing

syncing.maintain(
    "backup",
    "Back up the whole database into BACKUP_DIR, and remove what is older than the newest BACKUP_KEEP.",
    arguments=lambda: ["--keep", str(settings.BACKUP_KEEP)],
    longest=6 * 3600.0,  # of hundreds of millions of rows
)
