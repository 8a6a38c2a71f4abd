"""The frames of the protocol as typed structs, both directions, and their codes. Pure.

Field by field what the protocol says. Unknown members are ignored; optional ones have defaults and are then not sent.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from syncing.cursor import Cursor
from syncing.values import MAX_INTEGER

SUBPROTOCOL = "claudia.sync.v1"


class CloseCode(IntEnum):
    """Why the server closes a connection."""

    RESTART = 1012
    BAD_FRAME = 4400
    NOT_AUTHENTICATED = 4401
    FORBIDDEN = 4403
    NO_HELLO = 4408
    FRAME_TOO_LARGE = 4413
    RATE_LIMITED = 4429
    TOO_SLOW = 4503


class ErrorCode(StrEnum):
    """What an `error` frame, or the error of a result, says to machines."""

    BAD_FRAME = "bad_frame"
    BAD_FILTER = "bad_filter"
    UNKNOWN_TABLE = "unknown_table"
    UNKNOWN_COLUMN = "unknown_column"
    UNKNOWN_SUBSCRIPTION = "unknown_subscription"
    DUPLICATE_SUBSCRIPTION = "duplicate_subscription"
    NOT_FILTERABLE = "not_filterable"
    NOT_WRITABLE = "not_writable"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    INVALID = "invalid"
    EXPIRED = "expired"
    RATE_LIMITED = "rate_limited"
    TOO_LARGE = "too_large"
    TOO_MANY_SUBSCRIPTIONS = "too_many_subscriptions"
    ATOMIC_ABORTED = "atomic_aborted"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


Name = Annotated[str, Meta(min_length=1, max_length=64)]
Text = Annotated[str, Meta(max_length=4096)]
Version = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]
Strategy = Literal["local_wins", "remote_wins", "merge", "manual"]
Op = Literal["insert", "update", "delete"]
Outcome = Literal["applied", "merged", "conflict", "rejected"]
Nonce = Annotated[int, Meta(ge=-MAX_INTEGER, le=MAX_INTEGER)]


class Struct(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What all have in common: absent members are not sent."""


class Frame(Struct, frozen=True, kw_only=True, tag_field="type", tag=str.lower):
    """A frame; its `type` is the name of its class."""


# Client → server


class Hello(Frame, frozen=True, kw_only=True):
    client: UUID
    token: Text | None = None


class Token(Frame, frozen=True, kw_only=True):
    token: Text


class Subscription(Struct, frozen=True, kw_only=True):
    id: Name
    table: Name
    where: dict[str, Any] | None = None
    columns: Annotated[list[Name], Meta(max_length=1000)] | None = None
    shape: Name | None = None


class Subscribe(Frame, frozen=True, kw_only=True):
    subscriptions: list[Subscription]
    cursor: Cursor | None = None
    scopes: list[Name] | None = None


class Unsubscribe(Frame, frozen=True, kw_only=True):
    id: Name


class Mutation(Struct, frozen=True, kw_only=True):
    """Also the member of `POST /api/mutations`. What its op allows and asks for is checked where it is applied.

    The values stay JSON text until then: a number keeps all its digits.
    """

    id: UUID
    table: Name
    op: Op
    row: UUID
    values: dict[str, Raw] | None = None
    base: Version | None = None
    strategy: Strategy | None = None


class Mutate(Frame, frozen=True, kw_only=True):
    mutations: list[Mutation]
    atomic: bool = False


class MutationRequest(Struct, frozen=True, kw_only=True):
    """`mutate` over HTTP, where no `hello` names the client."""

    client: UUID
    mutations: list[Mutation]
    atomic: bool = False


class Resolve(Frame, frozen=True, kw_only=True):
    """`version`: the `sync_version` of the conflict that the person looked at."""

    id: UUID
    conflict: UUID
    strategy: Strategy
    values: dict[str, Raw] | None = None
    version: Version | None = None


class Watch(Frame, frozen=True, kw_only=True):
    topic: Name


class Unwatch(Frame, frozen=True, kw_only=True):
    topic: Name


class Metric(Frame, frozen=True, kw_only=True):
    name: Name
    value: float
    unit: Name | None = None


class Checksum(Frame, frozen=True, kw_only=True):
    """`id` names the request; `shape` is the handle of a shape that is ready."""

    id: Name
    shape: Name


class Ack(Frame, frozen=True, kw_only=True):
    cursor: Cursor


class Ping(Frame, frozen=True, kw_only=True):
    nonce: Nonce | None = None


# Server → client


class Person(Struct, frozen=True, kw_only=True):
    id: UUID
    name: str
    email: str


class Server(Struct, frozen=True, kw_only=True):
    version: str


class Limits(Struct, frozen=True, kw_only=True):
    frame_bytes: int
    subscriptions: int
    mutations_per_frame: int
    frames_per_second: float
    mutations_per_second: float


class Welcome(Frame, frozen=True, kw_only=True):
    user: Person
    client: UUID
    server: Server
    limits: Limits
    features: list[str] = []


class Subscribed(Frame, frozen=True, kw_only=True):
    id: str
    shape: str
    columns: dict[str, str]
    resumed: bool


class Snapshot(Frame, frozen=True, kw_only=True):
    """Rows are staged under `n`; JSON text as the database made it."""

    shape: str
    n: int
    scope: str
    rows: list[Raw]


class Change(Struct, frozen=True, kw_only=True, tag_field="op", tag=str.lower):
    id: UUID


class Insert(Change, frozen=True, kw_only=True):
    """`row`: all columns of the shape, as the database spelled them."""

    v: int
    row: Raw


class Update(Change, frozen=True, kw_only=True):
    """`row`: the changed columns."""

    v: int
    row: Raw


class Delete(Change, frozen=True, kw_only=True):
    v: int


class Leave(Change, frozen=True, kw_only=True):
    """The row exists, but no longer in this shape and scope."""


AnyChange = Insert | Update | Delete | Leave


class Part(Struct, frozen=True, kw_only=True):
    """The changes of one shape in one scope."""

    shape: str
    scope: str
    changes: list[AnyChange]


class Ready(Struct, frozen=True, kw_only=True):
    """The rows of `shape` staged under `n` take the place of what was shown."""

    shape: str
    n: int


class Changes(Frame, frozen=True, kw_only=True):
    """A step, or all of it but the rest if `more`."""

    cursor: Cursor
    staging: list[str] = []
    lost: list[str] = []
    gained: list[str] = []
    parts: list[Part]
    ready: list[Ready] = []
    more: bool = False


class Problem(Struct, frozen=True, kw_only=True):
    """Why a mutation was rejected."""

    code: str
    message: str
    fields: dict[str, list[str]] | None = None


class Result(Frame, frozen=True, kw_only=True):
    id: UUID
    status: Outcome
    version: int | None = None
    row: Raw | UnsetType = UNSET
    conflict: UUID | None = None
    replayed: bool = False
    error: Problem | None = None


class HttpResult(Result, frozen=True, kw_only=True, tag=False):
    """A result over HTTP: the transaction that wrote, and the cursor from which on its write is visible."""

    txid: int | None = None
    cursor: Cursor | None = None


class Checking(Frame, frozen=True, kw_only=True):
    """What the client holds of `shape` at this moment, at `cursor`, is what `checksums` will be about."""

    id: str
    shape: str
    cursor: Cursor


class Sum(Struct, frozen=True, kw_only=True):
    """Of a shape's rows in one scope: how many, and two checksums of 16 hexadecimal digits each."""

    scope: str
    rows: int
    versions: str
    values: str


class Checksums(Frame, frozen=True, kw_only=True):
    """The answer to `checksum`: one sum for each scope that the client holds."""

    id: str
    shape: str
    cursor: Cursor
    sums: list[Sum]


class IssueDetails(Struct, frozen=True, kw_only=True):
    """For staff. detail: may hold a query."""

    code: str
    part: str
    severity: Literal["warning", "critical"]
    detail: str


class Health(Struct, frozen=True, kw_only=True):
    """parts, details: for staff; details in the order of the issues."""

    status: Literal["healthy", "warning", "critical"]
    score: int
    issues: list[str]
    recommendations: list[str]
    parts: dict[str, str] | UnsetType = UNSET
    details: list[IssueDetails] | UnsetType = UNSET


class LatencyFigures(Struct, frozen=True, kw_only=True):
    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float


class ProcessFigures(Struct, frozen=True, kw_only=True):
    host: str
    pid: int
    answered: bool
    heartbeat_ms: float | None
    clients: int
    behind: int


class Status(Frame, frozen=True, kw_only=True):
    """What is UNSET by default is for staff."""

    online: bool
    last_sync: str | None
    pending_events: int
    conflicts: int
    latency_ms: float | None
    bandwidth_bytes_per_second: float
    health: Health
    latency: LatencyFigures | UnsetType | None = UNSET
    changes_per_second: dict[str, float] | UnsetType = UNSET
    clients: int | UnsetType = UNSET
    clients_behind: int | UnsetType = UNSET
    lag_seconds: float | UnsetType = UNSET
    processes: list[ProcessFigures] | UnsetType = UNSET


class Error(Frame, frozen=True, kw_only=True):
    code: str
    message: str
    ref: str | None = None
    retry_after: float | None = None


class Pong(Frame, frozen=True, kw_only=True):
    nonce: Nonce | None = None
    cursor: Cursor | None = None
