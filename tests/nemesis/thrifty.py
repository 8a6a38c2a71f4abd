"""`manage.py serve` of a server for which all that clients missed is much: told in steps of their own, from files."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[0] = str(ROOT)  # not this folder: its modules would be taken for others
os.environ["DJANGO_SETTINGS_MODULE"] = "claudia.settings"


def main() -> None:
    import django

    django.setup()
    from django.core.management import execute_from_command_line

    from syncing import catching_up, past

    past.AT_ONCE_BYTES, catching_up.FRAME_BYTES, catching_up.MOST_WAITING = 0, 2000, 10_000
    execute_from_command_line([str(ROOT / "manage.py"), "serve", *sys.argv[1:]])


if __name__ == "__main__":
    main()
