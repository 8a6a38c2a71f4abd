"""Frames as they go to the socket: framed once, and deflated once, for however many clients. Pure.

permessage-deflate (RFC 7692) without context takeover: each message stands for itself, so that one deflated frame
serves everybody, and no connection needs a compressor's memory.
"""

from __future__ import annotations

import struct
import zlib

#: Shorter frames are not worth deflating.
WORTH_DEFLATING = 200
#: zlib's levels: how hard it tries for a frame, and for a block of rows, of which there may be many megabytes.
LEVEL, BLOCK_LEVEL = 6, 2
_TEXT, _DEFLATED_TEXT = 0x81, 0xC1
#: What a flush ends with, and a message of permessage-deflate omits (RFC 7692, section 7.2.1).
_FLUSHED = b"\x00\x00\xff\xff"


class Packet:
    """A text frame. Whoever takes it for many clients does the work once."""

    __slots__ = ("_deflated", "_framed", "text")

    def __init__(self, text: bytes) -> None:
        self.text = text
        self._framed: bytes | None = None
        self._deflated: bytes | None = None

    @property
    def framed(self) -> bytes:
        """As a client reads it that takes no compression."""
        if self._framed is None:
            self._framed = header(_TEXT, len(self.text)) + self.text
        return self._framed

    @property
    def deflated(self) -> bytes:
        """As a client reads it that takes permessage-deflate; as it is where that is shorter."""
        if self._deflated is None:
            self._deflated = self._deflate() if len(self.text) >= WORTH_DEFLATING else self.framed
        return self._deflated

    def _deflate(self) -> bytes:
        return message(deflate(self.text))


class Block:
    """Text that is part of many frames, such as rows: each of them has a head and a tail of its own around it."""

    __slots__ = ("_deflated", "text")

    def __init__(self, text: bytes) -> None:
        self.text = text
        self._deflated: bytes | None = None

    @property
    def deflated(self) -> bytes:
        """A piece of a deflate stream that refers to nothing before it."""
        if self._deflated is None:
            self._deflated = deflate(self.text, BLOCK_LEVEL)
        return self._deflated


class BlockPacket(Packet):
    """A text frame around a block."""

    __slots__ = ("_block", "_head", "_tail")

    def __init__(self, head: bytes, block: Block, tail: bytes) -> None:
        super().__init__(b"".join((head, block.text, tail)))
        self._head, self._block, self._tail = head, block, tail

    def _deflate(self) -> bytes:
        return message(deflate(self._head) + self._block.deflated + deflate(self._tail))


def deflate(text: bytes, level: int = LEVEL) -> bytes:
    """A whole number of bytes of a deflate stream, ended by a flush; such pieces may be joined."""
    # A window as large as the text is enough; setting a large one up costs more than deflating little.
    window = min(15, max(9, len(text).bit_length()))
    stream = zlib.compressobj(level, zlib.DEFLATED, -window, min(8, window - 6))
    return stream.compress(text) + stream.flush(zlib.Z_SYNC_FLUSH)


def message(stream: bytes) -> bytes:
    """The frame of a deflated message."""
    payload = stream.removesuffix(_FLUSHED)
    return header(_DEFLATED_TEXT, len(payload)) + payload


def header(first: int, size: int) -> bytes:
    """Of an unmasked frame in one piece (RFC 6455, section 5.2)."""
    if size < 126:
        return bytes((first, size))
    if size < 1 << 16:
        return struct.pack("!BBH", first, 126, size)
    return struct.pack("!BBQ", first, 127, size)
