"""The ASGI entry point: HTTP to Django, WebSockets and the HTTP of the protocol to the sync engine."""

import os
import sys

from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "claudia.settings")

http = get_asgi_application()  # loads the apps: whatever needs models is imported below this line

from twisted.internet import reactor  # noqa: E402

from claudia.authentication import Authentication  # noqa: E402
from claudia.requests import with_request_ids  # noqa: E402
from claudia.serving import raise_file_limit  # noqa: E402
from syncing.hub import start_with, stop_with  # noqa: E402
from syncing.poolers import NotDirect, check_addresses  # noqa: E402
from syncing.routing import api_routes, sync_routes  # noqa: E402
from syncing.transport import use_push_protocol  # noqa: E402

try:
    check_addresses()
except NotDirect as problem:
    sys.exit(f"claudia: {problem}")  # a server that tells nobody anything is worse than none

raise_file_limit()
use_push_protocol()
start_with(reactor)
stop_with(reactor)

authentication = Authentication()
application = ProtocolTypeRouter(
    {"http": with_request_ids(api_routes(authentication, http)), "websocket": sync_routes(authentication)}
)
