"""Frames of what is said once and kept by nobody, the protocol's optional feature `say`. Pure."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from msgspec import UNSET, Meta, Raw, UnsetType

from syncing.frames import Frame, Name

FEATURE = "say"
#: Scopes that one connection listens to, at most.
MOST_HEARD = 100


class Hear(Frame, frozen=True, kw_only=True):
    """From now on what is said in these scopes, and in no others."""

    scopes: Annotated[list[Name], Meta(max_length=MOST_HEARD)]


class Say(Frame, frozen=True, kw_only=True):
    """To all who listen to the scope just now. `data`: whatever the clients agree upon."""

    scope: Name
    topic: Name
    data: Raw | UnsetType = UNSET


class Said(Frame, frozen=True, kw_only=True):
    """What another client said; `user` and `client` are who it was, by the server's word."""

    scope: str
    topic: str
    user: UUID
    name: str
    client: UUID
    data: Raw | UnsetType = UNSET
