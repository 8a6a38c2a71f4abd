"""Who writes through a web page."""

from __future__ import annotations

from collections.abc import Callable

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.urls import NoReverseMatch, reverse

import syncing

#: RFC 9110: requests by these change nothing.
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
#: Programs' requests: each mutation is a transaction of its own, and tells its own actor.
API = "/api/"


class ActorMiddleware:
    """What a request writes is logged as its user's, and is written whole or, if the request fails, not at all.

    Behind AuthenticationMiddleware. Safe requests write nothing of people's, and open no transaction.
    """

    sync_capable, async_capable = True, False  # a transaction belongs to its thread

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not acts(request):
            return self.get_response(request)
        user = request.user if request.user.is_authenticated else None
        with syncing.acting(user=user, origin=origin_of(request)):
            response = self.get_response(request)
            if response.status_code >= 500:
                transaction.set_rollback(True)
            return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> None:
        """The view failed; a handler makes a response of it (404, 403, 500), which must not let half a write stand."""
        if acts(request):
            transaction.set_rollback(True)


def acts(request: HttpRequest) -> bool:
    """Whether the request is written for as a whole."""
    return request.method not in SAFE_METHODS and not request.path.startswith(API)


def origin_of(request: HttpRequest) -> str:
    """`admin` for the admin's pages, else `web`."""
    try:
        return "admin" if request.path.startswith(reverse("admin:index")) else "web"
    except NoReverseMatch:
        return "web"
