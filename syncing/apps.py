"""The app: finds the declarations and maintenance tasks of all apps, and checks them."""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class SyncingConfig(AppConfig):
    name = "syncing"
    verbose_name = "Sync"

    def ready(self) -> None:
        autodiscover_modules("sync", "maintenance")
        import_module("syncing.checks")
        import_module("syncing.measuring")
        import_module("syncing.alerts").connect()
        import_module("syncing.notices").connect()
