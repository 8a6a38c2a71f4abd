#!/usr/bin/env python
"""The command line of Claudia: `manage.py help` lists what it can do."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "claudia.settings")
    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        settings.configured or settings.INSTALLED_APPS  # noqa: B018 - reading one setting loads them all
    except ImproperlyConfigured as error:
        # An operator's typing error deserves its one sentence, not a traceback that hides it.
        sys.exit(f"claudia: {error}")
    if len(sys.argv) > 1:
        # What the command writes is logged as its own, and operators see in pg_stat_activity what it is.
        settings.DATABASES["default"].setdefault("OPTIONS", {})["application_name"] = f"command {sys.argv[1]}"
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
