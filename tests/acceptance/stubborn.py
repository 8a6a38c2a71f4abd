"""`manage.py serve` of a server that does not end: a thread of it, for which the interpreter waits, never does."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[0] = str(ROOT)  # not this folder: its `http` would be taken for the standard library's
os.environ["DJANGO_SETTINGS_MODULE"] = "claudia.settings"


def main() -> None:
    import django

    django.setup()
    from django.core.management import execute_from_command_line

    threading.Thread(target=threading.Event().wait, name="stubborn").start()
    execute_from_command_line([str(ROOT / "manage.py"), "serve", *sys.argv[1:]])


if __name__ == "__main__":
    main()
