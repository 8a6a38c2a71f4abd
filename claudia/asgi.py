"""The ASGI entry point: HTTP to Django."""

import os

from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "claudia.settings")

http = get_asgi_application()  # loads the apps: whatever needs models is imported below this line

application = ProtocolTypeRouter({"http": http})
