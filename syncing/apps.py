"""The app: finds the declarations of all apps."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class SyncingConfig(AppConfig):
    name = "syncing"
    verbose_name = "Sync"

    def ready(self) -> None:
        autodiscover_modules("sync")
