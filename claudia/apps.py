import logging

from django.apps import AppConfig
from django.conf import settings
from django.contrib.admin.apps import AdminConfig

logger = logging.getLogger(__name__)


class ClaudiaConfig(AppConfig):
    name = "claudia"
    verbose_name = "Claudia"

    def ready(self) -> None:
        from claudia import sessions  # noqa: F401 its receiver

        for sentence in settings.MISSPELT:
            logger.warning(sentence)


class StaffAdminConfig(AdminConfig):
    default_site = "syncing.staff.site.StaffSite"
