"""Frames on their way to sockets: framed as RFC 6455 has it, deflated as RFC 7692 has it, once for all."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncing import packets
from syncing.packets import WORTH_DEFLATING, Block, BlockPacket, Packet

TEXTS = st.one_of(
    st.binary(max_size=300),
    st.builds(lambda word, times: word * times, st.binary(min_size=1, max_size=40), st.integers(0, 5_000)),
)


def unframed(data: bytes) -> tuple[int, bytes]:
    """First byte and payload of an unmasked frame, by the words of RFC 6455, section 5.2."""
    length, at = data[1], 2
    assert not length & 0x80, "a server does not mask"
    if length == 126:
        length, at = int.from_bytes(data[2:4], "big"), 4
        assert length > 125, "the shortest form must be used"
    elif length == 127:
        length, at = int.from_bytes(data[2:10], "big"), 10
        assert length > 65_535, "the shortest form must be used"
    assert len(data) == at + length
    return data[0], data[at:]


def inflated(data: bytes) -> bytes:
    """The text of a frame, by the words of RFC 7692, section 7.2.2, for a client that has seen no other."""
    first, payload = unframed(data)
    if first == 0x81:
        return payload
    assert first == 0xC1
    stream = zlib.decompressobj(-15)
    text = stream.decompress(payload + b"\x00\x00\xff\xff")
    assert not stream.unconsumed_tail
    assert not stream.unused_data
    return text


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 100_000])
def test_a_frame_of_any_size_is_one_final_text_frame_in_the_shortest_form(size: int) -> None:
    payload = bytes(index % 251 for index in range(size))
    assert unframed(Packet(payload).framed) == (0x81, payload)


@given(text=TEXTS)
def test_a_deflated_frame_holds_the_text_for_whoever_knows_no_other_frame(text: bytes) -> None:
    assert inflated(Packet(text).deflated) == text


@given(head=TEXTS, rows=TEXTS, tail=TEXTS)
def test_a_frame_around_a_block_is_its_three_parts_deflated_or_not(head: bytes, rows: bytes, tail: bytes) -> None:
    packet = BlockPacket(head, Block(rows), tail)
    assert packet.text == head + rows + tail
    assert unframed(packet.framed) == (0x81, packet.text)
    assert inflated(packet.deflated) == packet.text


def test_text_that_repeats_itself_gets_smaller_and_short_text_is_left_as_it_is() -> None:
    assert len(Packet(b'{"op":"insert"},' * 100).deflated) < 100
    short = Packet(b"x" * (WORTH_DEFLATING - 1))
    assert short.deflated is short.framed


def test_the_work_is_done_once_for_all_who_are_sent_the_frame_or_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    deflated: list[bytes] = []

    def counted(text: bytes, level: int = 1) -> bytes:
        deflated.append(text)
        return original(text, level)

    original = packets.deflate
    monkeypatch.setattr(packets, "deflate", counted)
    packet, block = Packet(b"x" * 1000), Block(b"y" * 1000)
    for _ in range(3):
        assert packet.deflated
        assert packet.framed is packet.framed
        assert BlockPacket(b"head" * 100, block, b"]}").deflated
    assert deflated.count(packet.text) == 1
    assert deflated.count(block.text) == 1
