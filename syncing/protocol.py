"""Frames in and out: text to typed structs and back, and what is wrong with a frame that cannot be read. Pure.

A frame that is no JSON object of a known type ends the connection (UnreadableFrame, close code 4400); a known frame
with a member of the wrong type is answered by an `error` frame that names the path (BadFrame, with `ref` if the id of
the subscription or mutation can be found).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, TypeVar, cast, get_args

import msgspec
from msgspec import Raw, UnsetType

from syncing.cursor import Cursor
from syncing.ephemeral_frames import Hear, Said, Say
from syncing.exceptions import BadFrame
from syncing.frames import (
    Ack,
    Changes,
    Checking,
    Checksum,
    Checksums,
    Error,
    Frame,
    Hello,
    Metric,
    Mutate,
    MutationRequest,
    Part,
    Ping,
    Pong,
    Ready,
    Resolve,
    Result,
    Snapshot,
    Status,
    Subscribe,
    Subscribed,
    Token,
    Unsubscribe,
    Unwatch,
    Watch,
    Welcome,
)

ClientFrame = (
    Hello | Token | Subscribe | Unsubscribe | Mutate | Resolve | Checksum | Watch | Unwatch | Metric | Ack | Ping
    | Hear | Say
)  # fmt: skip
ServerFrame = Welcome | Subscribed | Snapshot | Changes | Result | Checking | Checksums | Status | Error | Pong | Said

#: Objects in arrays in objects … of one frame.
MAX_NESTING = 64

#: Levels of a frame that is nested too deeply that are looked at for its type and an id.
MAX_REPORTED = 3

_T = TypeVar("_T")
_PATH = re.compile(r" - at `\$(\S*)`$")
_STEP = re.compile(r"\.([^.\[\]]+)|\[([0-9]+)\]")
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_SQUARE = bytes.maketrans(b"{}", b"[]")
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class UnreadableFrame(BadFrame):
    """The frame is no JSON object of a known type."""


class BadMember(BadFrame):
    """A member of the frame has the wrong type."""

    def __init__(self, message: str, ref: str | None = None) -> None:
        super().__init__(message)
        self.ref = ref
        """The id that the client gave to what is wrong."""


def parse(text: str | bytes) -> ClientFrame:
    """The frame that a client sent. Raises UnreadableFrame, or BadMember for a frame of a known type; nothing else."""
    return _parse(text, _client_frames, CLIENT_TYPES)


def parse_each(text: str | bytes) -> tuple[ClientFrame, list[BadMember]]:
    """As `parse`, but what is wrong with one subscription or mutation leaves the others of its frame alone.

    Gives the frame without those that cannot be read, and what is wrong with each of them. In an atomic `mutate` one
    that cannot be read takes the others with it.
    """
    try:
        return parse(text), []
    except BadMember as error:
        try:
            members = msgspec.json.decode(text, type=dict[str, Raw])
            kind = next(kind for kind in ("subscriptions", "mutations") if kind in members)
            items = msgspec.json.decode(members[kind], type=list[Raw])
        except (msgspec.MsgspecError, StopIteration, RecursionError):
            raise error from None
    parse(_encoder.encode(members | {kind: []}))  # whatever else is wrong is wrong with the frame
    good, errors = [], []
    for index, item in enumerate(items):
        try:
            parse(_encoder.encode(members | {kind: [item]}))
            good.append(item)
        except BadMember as error:
            message = str(error).replace(f"{kind}[0]", f"{kind}[{index}]", 1)
            errors.append(BadMember(message, error.ref))
    if bytes(members.get("atomic", b"")) == b"true":
        good = []
    return parse(_encoder.encode(members | {kind: good})), errors


def parse_server(text: str | bytes) -> ServerFrame:
    """The frame that a server sent, for clients and tests in Python. Raises as `parse` does."""
    return _parse(text, _server_frames, SERVER_TYPES)


def parse_mutations(body: bytes) -> MutationRequest:
    """The body of `POST /api/mutations`. Raises as `parse` does."""
    return _parse(body, _mutation_requests, None)


def encode(frame: Frame) -> bytes:
    """The frame as JSON text, without the optional members that are absent."""
    return _encoder.encode(frame)


def raw(text: str | None) -> Raw | UnsetType:
    """JSON text as a member of a frame; absent where there is none."""
    return msgspec.UNSET if text is None else Raw(text.encode())


def encode_changes(
    cursor: Cursor,
    parts: Sequence[bytes] = (),
    *,
    staging: Sequence[str] = (),
    lost: Sequence[str] = (),
    gained: Sequence[str] = (),
    ready: Sequence[Ready] = (),
    more: bool = False,
) -> bytes:
    """A `changes` frame around parts that are JSON text already. Empty members are left out; `parts` never is."""
    frame = Changes(
        cursor=cursor,
        staging=list(staging),
        lost=list(lost),
        gained=list(gained),
        parts=cast(list[Part], [Raw(part) for part in parts]),
        ready=list(ready),
        more=more,
    )
    return _encoder.encode(frame)


def _parse(text: str | bytes, decoder: msgspec.json.Decoder[_T], types: frozenset[str] | None) -> _T:
    try:
        data = text.encode() if isinstance(text, str) else bytes(text)
    except UnicodeEncodeError:
        raise UnreadableFrame("The frame is not valid Unicode.") from None
    if _nested_too_deeply(data):
        # No decoder can be trusted with it: what is too deep is cut out, and what is left says what the frame is.
        raise _explained(f"A frame is nested at most {MAX_NESTING} levels deep", _cut(data), types)
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        raise _explained(str(error), data, types) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UnreadableFrame("The frame is not JSON.") from None


def _nested_too_deeply(data: bytes) -> bool:
    """Decided by the text alone: how deep a decoder can go depends on who calls it."""
    if data.count(b"[") + data.count(b"{") <= MAX_NESTING:
        return False
    brackets = _STRING.sub(b"", data).translate(_SQUARE, _NO_BRACKETS)
    for _ in range(MAX_NESTING):  # each pass takes the innermost level away
        outer = brackets.replace(b"[]", b"")
        if len(outer) == len(brackets):
            return False  # nothing left, or not JSON, which the decoder says better
        brackets = outer
    return bool(brackets)


def _cut(data: bytes) -> bytes:
    """The text with null for every array and object within MAX_REPORTED levels."""
    kept, depth, start = [], 0, 0
    for token in _TOKENS.finditer(data):
        if token[0] in (b"[", b"{"):
            depth += 1
            if depth == MAX_REPORTED + 1:
                kept.append(data[start : token.start()] + b"null")
        elif token[0] in (b"]", b"}"):
            if depth == MAX_REPORTED + 1:
                start = token.end()
            depth -= 1
    return b"".join(kept) + (data[start:] if depth == 0 else b"")


def _explained(message: str, data: bytes, types: frozenset[str] | None) -> BadFrame:
    try:
        frame = json.loads(data, parse_int=float)  # numbers of any size: what is too large becomes infinity
    except (ValueError, RecursionError):
        return UnreadableFrame("The frame is not JSON.")
    if not isinstance(frame, dict) or (types is not None and str(frame.get("type")) not in types):
        return UnreadableFrame("The frame is no JSON object of a known type.")
    return BadMember(message[:300], _ref(frame, message))


def _ref(frame: dict[str, Any], message: str) -> str | None:
    """The id of the innermost subscription, mutation or frame on the way to what is wrong."""
    path = _PATH.search(message)
    items = frame.get("subscriptions") or frame.get("mutations")
    if path is None and isinstance(items, list) and len(items) == 1:
        return _id(items[0])
    ref, value = None, cast(Any, frame)
    for member, index in _STEP.findall(path[1] if path else ""):
        ref = _id(value) or ref
        try:
            value = value[member] if member else value[int(index)]
        except (LookupError, TypeError):
            break
    return _id(value) or ref


def _id(value: Any) -> str | None:
    found = value.get("id") if isinstance(value, dict) else None
    return found if isinstance(found, str) and len(found) <= 64 else None


def _decode_cursor(expected: type, value: Any) -> Any:
    if expected is not Cursor or not isinstance(value, str):
        raise TypeError("Expected a cursor")
    try:
        return Cursor.parse(value)
    except BadFrame as error:
        raise ValueError(str(error)) from None  # what msgspec completes by the path


def _encode_cursor(value: Any) -> Any:
    if isinstance(value, Cursor):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} has no place in a frame")


def _types(frames: Any) -> frozenset[str]:
    return frozenset(cast(str, frame.__struct_config__.tag) for frame in get_args(frames))


CLIENT_TYPES = _types(ClientFrame)
SERVER_TYPES = _types(ServerFrame)

_client_frames: msgspec.json.Decoder[ClientFrame] = msgspec.json.Decoder(ClientFrame, dec_hook=_decode_cursor)
_server_frames: msgspec.json.Decoder[ServerFrame] = msgspec.json.Decoder(ServerFrame, dec_hook=_decode_cursor)
_mutation_requests = msgspec.json.Decoder(MutationRequest, dec_hook=_decode_cursor)
_encoder = msgspec.json.Encoder(enc_hook=_encode_cursor)
