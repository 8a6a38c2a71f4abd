"""`manage.py serve` of a server that loses its patience soon, for tests that would otherwise wait for half a minute."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[0] = str(ROOT)  # not this folder: its `http` would be taken for the standard library's
os.environ["DJANGO_SETTINGS_MODULE"] = "claudia.settings"


def main() -> None:
    import django

    django.setup()
    from django.core.management import execute_from_command_line

    from syncing import consumers, hub

    hub.QUIET, hub.TOO_SLOW, hub.TICK = 1.0, 2.0, 0.25
    consumers.HELLO_WITHIN = 1.0
    execute_from_command_line([str(ROOT / "manage.py"), "serve", *sys.argv[1:]])


if __name__ == "__main__":
    main()
