"""What has to be done from time to time."""

from __future__ import annotations

import syncing

syncing.maintain("clearsessions", "Delete sign-ins whose time is over.")
