"""Somebody of the staff at the admin, as a browser without scripts would be: cookies, forms, redirects."""

from __future__ import annotations

import json
import re
import ssl
import urllib.error
import urllib.parse
import urllib.request
from http.cookiejar import CookieJar
from typing import Any, Protocol

from tests.acceptance.browser import HASH, PASSWORD
from tests.acceptance.site import Person, Site

PATIENCE = 60.0


def member(site: Site, name: str, group: str | None) -> Person:
    """A new person with a password; of the staff, and of this group, if there is one."""
    person = site.person(name, password=HASH, is_staff=group is not None)
    if group:
        site.sql(
            "INSERT INTO users_groups (user_id, group_id) SELECT %s, id FROM auth_group WHERE name = %s",
            person.id, group,
        )  # fmt: skip
    return person


class Place(Protocol):
    """Where there are pages."""

    @property
    def origin(self) -> str: ...


class Staffer:
    """Signed in at a server, or at what stands before it. tls: whose certificates are trusted."""

    def __init__(self, place: Place, person: Person, tls: ssl.SSLContext | None = None) -> None:
        self._origin = place.origin
        self._jar = CookieJar()
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(self._jar), urllib.request.HTTPSHandler(context=tls)
        )
        self.get("/login/")
        self.post("/login/", username=person.email, password=PASSWORD)

    def get(self, path: str) -> str:
        """What a page says. Raises HTTPError for a refusal."""
        return self._read(urllib.request.Request(self._origin + path))

    def json(self, path: str) -> dict[str, Any]:
        """The same, read."""
        answer: dict[str, Any] = json.loads(self.get(path))
        return answer

    def post(self, path: str, **values: str) -> str:
        """A form, with the token of the last page; what the page says to which it leads."""
        token = next(cookie.value for cookie in self._jar if cookie.name == "csrftoken")
        data = urllib.parse.urlencode({**values, "csrfmiddlewaretoken": token or ""}).encode()
        return self._read(urllib.request.Request(self._origin + path, data, {"Referer": self._origin + path}))

    @property
    def cookie(self) -> str:
        """What a browser would send along."""
        return "; ".join(f"{cookie.name}={cookie.value}" for cookie in self._jar)

    def _read(self, request: urllib.request.Request) -> str:
        with self._opener.open(request, timeout=PATIENCE) as answer:
            text: str = answer.read().decode()
        return re.sub(r"\s+", " ", text) if "<html" in text else text
