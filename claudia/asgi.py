"""The ASGI entry point: HTTP to Django, WebSockets and the HTTP of the protocol to the sync engine."""

import os

from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "claudia.settings")

http = get_asgi_application()  # loads the apps: whatever needs models is imported below this line

from twisted.internet import reactor  # noqa: E402

from claudia.authentication import Authentication  # noqa: E402
from claudia.requests import with_request_ids  # noqa: E402
from syncing.hub import start_with  # noqa: E402
from syncing.routing import api_routes, sync_routes  # noqa: E402
from syncing.stopping import stopping  # noqa: E402
from syncing.transport import use_push_protocol  # noqa: E402

use_push_protocol()
start_with(reactor)
stopping.install(reactor)

authentication = Authentication()
requests = with_request_ids(api_routes(authentication, http))
application = ProtocolTypeRouter({"http": stopping.count_requests(requests), "websocket": sync_routes(authentication)})
