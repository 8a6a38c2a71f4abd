"""Programs that stand beside Claudia where there is much of it, and that tests start by themselves; Debian has them."""

from __future__ import annotations

import os
import shutil

import pytest


def program(name: str) -> str:
    """Where it is. Where it is not installed the test is skipped, but not on the machine that decides."""
    path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if path is None:
        missing = f"{name} is not installed (on Debian: apt-get install {name}): what goes through it was NOT tried"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return path
