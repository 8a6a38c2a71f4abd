"""`manage.py serve` of a server that asks its clients twice a second whether they are still there."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[0] = str(ROOT)  # not this folder: its modules would be taken for others
os.environ["DJANGO_SETTINGS_MODULE"] = "claudia.settings"


def main() -> None:
    import django

    django.setup()
    from daphne import server
    from django.core.management import execute_from_command_line

    server.Server = partial(server.Server, ping_interval=0.5, ping_timeout=1)  # type: ignore[assignment,misc]
    execute_from_command_line([str(ROOT / "manage.py"), "serve", *sys.argv[1:]])


if __name__ == "__main__":
    main()
