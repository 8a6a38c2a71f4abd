from django.apps import AppConfig


class ClaudiaConfig(AppConfig):
    name = "claudia"
    verbose_name = "Claudia"
