"""Programs that stand beside Claudia, and that tests start by themselves; Debian has them."""

from __future__ import annotations

import os
import shutil

import pytest


def program(name: str, package: str = "") -> str:
    """Where it is; where it is not installed the test is skipped, but not on the machine that decides.

    package: Debian's, if it has another name.
    """
    path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if path is None:
        missing = f"{name} is not installed (on Debian: apt-get install {package or name}): what needs it was NOT tried"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return path
