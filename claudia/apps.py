from django.apps import AppConfig


class ClaudiaConfig(AppConfig):
    name = "claudia"
    verbose_name = "Claudia"

    def ready(self) -> None:
        from claudia import sessions  # noqa: F401 its receiver
