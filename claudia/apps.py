from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class ClaudiaConfig(AppConfig):
    name = "claudia"
    verbose_name = "Claudia"

    def ready(self) -> None:
        from claudia import sessions  # noqa: F401 its receiver


class StaffAdminConfig(AdminConfig):
    default_site = "syncing.staff.site.StaffSite"
