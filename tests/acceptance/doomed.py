"""`manage.py serve` of a server that kills itself, without a word, at a chosen place of its nth transaction.

Places, in their order: `received` (nothing done yet), `claimed` (the receipts are inserted), `written` (so is a row; of
these the nth), `finished` (all is done but the commit), `committed` (but nobody was told). CLAUDIA_TESTS_DOOM is
`place:n`.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[0] = str(ROOT)  # not this folder: its `http` would be taken for the standard library's
os.environ["DJANGO_SETTINGS_MODULE"] = "claudia.settings"


def die(owner: Any, step: str, nth: int, *, before: bool = False) -> None:
    """Kills this process at the nth call of a function, before it or when it is done."""
    original, calls = getattr(owner, step), []

    def doomed(*args: Any, **kwargs: Any) -> Any:
        calls.append(step)
        done = None if before and len(calls) == nth else original(*args, **kwargs)
        if len(calls) == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    setattr(owner, step, doomed)


def main() -> None:
    import django

    django.setup()
    from django.core.management import execute_from_command_line

    from syncing import mutations, receipts

    place, _, nth = os.environ["CLAUDIA_TESTS_DOOM"].partition(":")
    owner, step = {
        "received": (mutations, "apply"),
        "claimed": (receipts, "claim"),
        "written": (mutations, "write"),
        "finished": (receipts, "finish"),
        "committed": (mutations, "apply"),
    }[place]
    die(owner, step, int(nth), before=place == "received")
    execute_from_command_line([str(ROOT / "manage.py"), "serve", *sys.argv[1:]])


if __name__ == "__main__":
    main()
