"""A clock that jumps, for processes that are started with it: libfaketime, which Debian has as a package.

Only the time of day jumps. The monotonic clock goes on, as it does where an administrator or NTP sets the time.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")) + sorted(
    Path("/usr/lib").glob("faketime/libfaketimeMT.so.1")
)
MISSING = "libfaketime is not installed (on Debian: apt-get install libfaketime): clock jumps were NOT tried"


class Clock:
    """What the processes that are started with `variables` take for the time. At first it is right."""

    def __init__(self, folder: Path) -> None:
        """folder: all those processes must reach it."""
        self._file = folder / "clock"
        self.jump(0)
        self._file.chmod(0o644)

    @classmethod
    def needed(cls, folder: Path) -> Clock:
        """A clock; where there is none to be had the test is skipped, but not on the machine that decides."""
        if not LIBRARIES:
            if os.environ.get("CI"):
                pytest.fail(MISSING)
            pytest.skip(MISSING)
        return cls(folder)

    @property
    def variables(self) -> dict[str, str]:
        """Of the environment of those processes."""
        return {
            "LD_PRELOAD": str(LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",  # seconds; without a cache a server does little but read the file
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def jump(self, days: int) -> None:
        """It is so many days from the real time, as soon as the processes look: within a second."""
        draft = self._file.with_name("clock.draft")
        draft.write_text(f"{days:+d}d\n")
        draft.chmod(0o644)
        draft.replace(self._file)
