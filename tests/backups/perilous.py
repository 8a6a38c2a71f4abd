"""A command about backups that is killed, without a word, at a chosen place: `perilous.py PLACE COMMAND …`.

What each place is: see PLACES.
"""

from __future__ import annotations

import sys

from tests.acceptance.doomed import ROOT, die

#: By name: the module, the function, at which call of it, and whether before it or when it is done.
PLACES = {
    "dumped": ("taking", "_digest", 1, True),
    "written": ("folder", "_flush", 1, True),
    "flushed": ("folder", "_flush", 3, False),
    "published": ("folder", "_flush", 4, True),
    "removing": ("folder", "_remove", 2, True),
    "removed": ("folder", "_remove", 2, False),
    "filled": ("restoring", "check_contents", 1, True),
    "granted": ("restoring", "grant_again", 1, False),
    "settled": ("restoring", "settle", 1, False),
    "half renamed": ("swapping", "_renamed", 2, False),
    "swapped": ("restoring", "swap", 1, False),
}


def main() -> None:
    import django

    django.setup()
    from importlib import import_module

    from django.core.management import execute_from_command_line

    module, step, nth, before = PLACES[sys.argv[1]]
    die(import_module(f"claudia.backups.{module}"), step, nth, before=before)
    execute_from_command_line([str(ROOT / "manage.py"), *sys.argv[2:]])


if __name__ == "__main__":
    main()
