"""The ASGI entry point: HTTP to Django, WebSockets and the HTTP of the protocol to the sync engine."""

import os
import sys

from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application
from django.core.exceptions import ImproperlyConfigured

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "claudia.settings")

try:
    http = get_asgi_application()  # loads the apps: whatever needs models is imported below this line
except ImproperlyConfigured as problem:
    sys.exit(f"claudia: {problem}")

from twisted.internet import reactor

from claudia.authentication import Authentication
from claudia.requests import with_request_ids
from claudia.serving import raise_file_limit
from syncing.hub import start_with
from syncing.poolers import NotDirect, check_addresses
from syncing.routing import api_routes, sync_routes
from syncing.starting import CannotStart, check_database
from syncing.stopping import stopping
from syncing.transport import use_push_protocol

try:
    check_addresses()
    check_database()
except (NotDirect, CannotStart) as problem:
    sys.exit(f"claudia: {problem}")  # a server that tells nobody anything is worse than none

raise_file_limit()
use_push_protocol()
start_with(reactor)
stopping.install(reactor)

authentication = Authentication()
requests = with_request_ids(api_routes(authentication, http))
application = ProtocolTypeRouter({"http": stopping.count_requests(requests), "websocket": sync_routes(authentication)})
