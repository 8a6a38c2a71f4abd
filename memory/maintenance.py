"""What has to be done from time to time."""

from __future__ import annotations

import syncing

syncing.maintain("expire_memories", "Delete memories whose time is over.")
