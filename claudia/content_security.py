"""What a browser may load and run on our pages."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.urls import reverse

#: No script, style, font or picture from anywhere else, and none inside the page: text of a message that a mistake let
#: through as markup could not do anything.
EVERYWHERE = {
    "default-src": "'self'",
    "img-src": "'self' data:",
    "object-src": "'none'",
    "base-uri": "'none'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
}
#: The admin's paint, django-unfold, makes functions of the expressions in its templates (Alpine.js), which takes
#: 'unsafe-eval', and sets attributes `style`. No script, no handler and no style sheet inside a page has an effect here
#: either; but whoever could put an attribute `x-data` into one could have it evaluated, so what people wrote is always
#: escaped there, and never marked safe.
ADMIN = {**EVERYWHERE, "script-src": "'self' 'unsafe-eval'", "style-src": "'self'", "style-src-attr": "'unsafe-inline'"}

HEADER = "Content-Security-Policy"


def policy(directives: dict[str, str]) -> str:
    """The header's value."""
    return "; ".join(f"{name} {value}" for name, value in directives.items())


class ContentSecurityMiddleware:
    """Sends the policy with every answer that does not bear one."""

    sync_capable, async_capable = True, False

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        admin = request.path.startswith(reverse("admin:index"))
        response.headers.setdefault(HEADER, policy(ADMIN if admin else EVERYWHERE))
        return response
