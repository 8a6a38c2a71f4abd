"""Requests to a server, as a program sends them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tests.acceptance.site import Person, ServerProcess


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    body: Any
    headers: Mapping[str, str]


async def ask(
    server: ServerProcess,
    path: str,
    person: Person | None = None,
    *,
    method: str = "GET",
    body: Any = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """One request, by the person's token if there is one; a body is JSON unless it is bytes."""
    return await asyncio.to_thread(ask_now, server.origin + path, person, body, method=method, headers=headers)


def ask_now(
    url: str,
    person: Person | None = None,
    body: Any = None,
    *,
    method: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """The same, waiting. method: POST where there is a body, if none is named."""
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    sent = {"Content-Type": "application/json"} if data is not None else {}
    if person:
        sent["Authorization"] = f"Bearer {person.token}"
    request = Request(url, data, {**sent, **(headers or {})}, method=method)
    try:
        with urlopen(request, timeout=20) as response:
            return Reply(response.status, _read(response.read()), _lower(response.headers))
    except HTTPError as error:
        with error:
            return Reply(error.code, _read(error.read()), _lower(error.headers))


def _read(body: bytes) -> Any:
    return json.loads(body) if body else None


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
