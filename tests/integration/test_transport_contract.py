"""What `syncing.transport` relies on of Daphne, autobahn and Twisted, none of which promises it.

A failure here after an upgrade says which of them changed; what the whole is good for is tested over real sockets in
tests/acceptance/test_protocol*.py.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import socket
from pathlib import Path
from typing import Any

import daphne.server
import pytest
from autobahn.websocket.protocol import WebSocketProtocol as AutobahnProtocol
from autobahn.websocket.protocol import WebSocketServerFactory, WebSocketServerProtocol
from daphne.ws_protocol import WebSocketFactory, WebSocketProtocol
from twisted.internet import abstract
from twisted.internet.tcp import Connection as TcpConnection

from syncing import transport
from syncing.frames import CloseCode
from syncing.packets import Packet

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.parametrize("package", ["daphne", "autobahn", "twisted"])
def test_the_versions_are_pinned_and_those_that_run(package: str) -> None:
    pinned = {
        name.lower(): version
        for name, _, version in (
            line.split("#")[0].split(";")[0].strip().partition("==")
            for line in (ROOT / "requirements.txt").read_text().splitlines()
        )
    }
    name = next(name for name in pinned if name.split("[")[0] == package)
    assert pinned[name] == importlib.metadata.version(package)


def test_the_factory_builds_our_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WebSocketFactory, "protocol", WebSocketProtocol)
    transport.use_push_protocol()
    assert WebSocketFactory.protocol is transport.PushProtocol
    assert "super().buildProtocol(addr)" in inspect.getsource(WebSocketFactory.buildProtocol)


def test_daphne_sets_the_server_on_the_protocol_before_it_makes_the_application() -> None:
    source = inspect.getsource(WebSocketProtocol.onConnect)
    assert source.index("self.server = self.factory.server_class") < source.index("self.server.create_application")


def test_daphne_hands_the_scope_of_a_socket_through_create_application_without_extensions() -> None:
    parameters = list(inspect.signature(daphne.server.Server.create_application).parameters)
    assert parameters == ["self", "protocol", "scope"]
    assert "extensions" not in inspect.getsource(WebSocketProtocol.onConnect)


def test_the_introduction_puts_the_link_in_the_scope_and_is_the_server_otherwise() -> None:
    class Server:
        websocket_timeout = 86_400
        ping_interval = 20

        def create_application(self, protocol: Any, scope: dict[str, Any]) -> dict[str, Any]:
            return scope

    protocol = object.__new__(transport.PushProtocol)
    protocol.server = Server()
    scope = protocol.server.create_application(protocol, {"type": "websocket"})
    assert scope["extensions"] == {transport.EXTENSION: protocol.link}
    assert protocol.server.ping_interval == 20
    assert protocol.server.websocket_timeout < 0, "sockets live as long as their clients"


def test_daphne_puts_frames_into_a_queue_whose_length_is_known() -> None:
    source = inspect.getsource(WebSocketProtocol.onMessage)
    assert "self.application_queue.put_nowait" in source
    assert "asyncio.Queue()" in inspect.getsource(daphne.server.Server.create_application)


def test_autobahn_has_the_hooks_that_are_overridden_and_the_state_that_is_read() -> None:
    for name, parameters in (
        ("_max_message_size_exceeded", ["self", "msg_size", "max_msg_size", "reason"]),
        ("_invalid_payload", ["self", "reason"]),
        ("onPing", ["self", "payload"]),
        ("sendCloseFrame", ["self", "code", "reasonUtf8", "isReply"]),
    ):
        assert list(inspect.signature(getattr(AutobahnProtocol, name)).parameters) == parameters, name
    assert AutobahnProtocol.STATE_OPEN != AutobahnProtocol.STATE_CLOSING
    assert "self.failedByMe" in inspect.getsource(AutobahnProtocol.onMessageFrameBegin)


def test_autobahn_refuses_a_message_by_its_announced_length_before_it_is_read() -> None:
    source = inspect.getsource(AutobahnProtocol.onMessageFrameBegin)
    assert "self.maxMessagePayloadSize" in source
    assert "self._max_message_size_exceeded(" in source


def test_autobahn_cuts_off_who_does_not_answer_a_close_in_time() -> None:
    factory = WebSocketServerFactory()
    assert 0 < factory.closeHandshakeTimeout < transport.CLOSED_WITHIN
    assert "self.dropConnection(abort=True)" in inspect.getsource(AutobahnProtocol.onCloseHandshakeTimeout)


class Reactor:
    """Does nothing when told to read or write."""

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: None


class Sink(abstract.FileDescriptor):
    """A transport that takes so many bytes a turn."""

    connected = 1
    takes = 0

    def __init__(self) -> None:
        super().__init__(Reactor())  # type: ignore[arg-type]
        self.socket = socket.socketpair()[0]

    def writeSomeData(self, data: Any) -> int:
        return min(self.takes, len(data))

    def getHandle(self) -> socket.socket:
        return self.socket

    def fileno(self) -> int:
        return self.socket.fileno()

    def logPrefix(self) -> str:
        return ""


def open_link() -> tuple[transport.ServerLink, Sink]:
    """A link on a transport that takes nothing yet."""
    protocol = object.__new__(transport.PushProtocol)
    protocol.state = AutobahnProtocol.STATE_OPEN
    protocol.transport = sink = Sink()
    link = protocol.link = transport.ServerLink(protocol)
    sink.registerProducer(link, True)
    return link, sink


def test_twisted_tells_the_link_when_the_client_does_not_read_and_when_it_has_read_all() -> None:
    link, sink = open_link()
    link.write(Packet(b"x" * 1000))
    assert not link.paused
    link.write(Packet(b"x" * sink.bufferSize))
    assert link.paused
    sink.takes = 1000
    sink.doWrite()
    assert link.paused
    sink.takes = 10 * sink.bufferSize
    sink.doWrite()
    assert not link.paused


def test_what_the_client_has_taken_is_known_to_the_byte() -> None:
    link, sink = open_link()
    frame = Packet(b"x" * 50_000).framed
    for _ in range(5):
        link.write(Packet(b"x" * 50_000))
    assert link.sent == 0
    taken = 0
    for takes in (1, 70_000, 12_345, len(frame), 10**9):
        sink.takes = takes
        before = len(sink.dataBuffer) - sink.offset
        sink.doWrite()
        taken += min(takes, before + 10**9)
        assert link.sent == min(taken, 5 * len(frame))
    assert link.sent == 5 * len(frame)


def test_the_kernel_tells_what_a_client_has_not_acknowledged() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as near:
        far, _ = listener.accept()
        with far:
            far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            near.setblocking(False)
            sent = 0
            try:
                while True:
                    sent += near.send(b"x" * 65_536)
            except BlockingIOError:
                pass
            waiting = transport.unacknowledged(near)
            assert 0 < waiting <= sent
    assert transport.unacknowledged(near) == 0


def test_a_connection_that_is_lost_is_neither_paused_nor_asked_for_its_socket() -> None:
    link, sink = open_link()
    link.write(Packet(b"x" * 2 * sink.bufferSize))
    assert link.paused
    sink.connectionLost(None)
    del sink.socket  # as Twisted does
    assert not link.paused
    assert link.sent > 2 * sink.bufferSize


def test_a_twisted_socket_can_be_told_to_stop_reading() -> None:
    assert "self.stopReading()" in inspect.getsource(TcpConnection.pauseProducing) + inspect.getsource(
        abstract.FileDescriptor.pauseProducing
    )


def test_a_closed_link_writes_nothing_and_close_codes_are_plain_integers() -> None:
    link, sink = open_link()
    codes: list[Any] = []
    link._protocol.sendCloseFrame = lambda code: codes.append(code)  # type: ignore[method-assign]
    link.close(CloseCode.RESTART)
    assert codes == [1012]
    assert type(codes[0]) is int
    link._protocol.state = AutobahnProtocol.STATE_CLOSING
    link.write(Packet(b"x"))
    assert sink._tempDataLen == 0


# -- straight to the socket --------------------------------------------------------------------------------------------


class Straight(TcpConnection):
    """A Twisted connection whose other end is `far`; nothing runs its reactor."""

    def __init__(self) -> None:
        near, self.far = socket.socketpair()
        near.setblocking(False)
        super().__init__(near, None, Reactor())  # type: ignore[arg-type]
        self.connected = 1
        self.passed: list[bytes] = []

    def setTcpNoDelay(self, enabled: bool) -> None:
        """A pair of sockets has no Nagle."""

    def write(self, data: bytes) -> None:
        self.passed.append(data)
        super().write(data)


def straight() -> tuple[transport.ServerLink, Straight]:
    """A link on a connection that is open."""
    protocol = object.__new__(transport.PushProtocol)
    protocol.state = AutobahnProtocol.STATE_OPEN
    protocol._perMessageCompress = None
    protocol.transport = twisted = Straight()
    link = protocol.link = transport.ServerLink(protocol)
    twisted.registerProducer(link, True)
    link.opened()
    return link, twisted


def test_a_frame_goes_to_the_socket_itself_while_nothing_waits() -> None:
    link, twisted = straight()
    for text in (b"one", b"two"):
        link.write(Packet(text))
    assert twisted.far.recv(100) == b"\x81\x03one\x81\x03two"
    assert twisted.passed == []


def test_what_the_kernel_does_not_take_goes_through_twisted_and_nothing_overtakes_it() -> None:
    link, twisted = straight()
    large, last = Packet(b"x" * 5_000_000), Packet(b"the last")
    link.write(large)
    received = twisted.far.recv(1 << 20)  # there is room again, and yet something waits before what comes next
    link.write(last)
    assert link.paused, "Twisted was not given what waits"
    taken = len(large.framed) - len(twisted.passed[0])
    assert 0 < taken < len(large.framed)
    assert twisted.passed == [large.framed[taken:], last.framed]
    twisted.far.setblocking(False)
    while len(received) < len(large.framed) + len(last.framed):
        try:
            received += twisted.far.recv(1 << 20)
        except BlockingIOError:
            twisted.doWrite()
    assert received == large.framed + last.framed
    assert not link.paused


def test_an_encrypted_connection_is_never_written_past_twisted() -> None:
    link, twisted = straight()
    assert not TcpConnection.TLS, "Twisted no longer says by this whether startTLS was called"
    twisted.TLS = True
    link._send = None
    link.opened()
    assert link._send is None


def test_a_socket_that_broke_is_left_to_twisted_to_find_out() -> None:
    link, twisted = straight()
    twisted.far.close()
    for _ in range(2):
        link.write(Packet(b"x"))
    assert twisted.passed, "the error was ours to handle"


def test_autobahn_copies_its_options_by_a_list_that_we_empty() -> None:
    source = inspect.getsource(AutobahnProtocol._connectionMade)
    assert "for configAttr in self.CONFIG_ATTRS:" in source
    assert "pformat(configAttrLog)" in source, "it is no longer formatted: the list need not be emptied"
    assert {"trackTimings", "autoPingInterval", "perMessageCompressionAccept"} <= transport.OPTIONS
    protocol = object.__new__(transport.PushProtocol)
    protocol.factory = WebSocketServerFactory()
    assert {name for name in transport.OPTIONS if not hasattr(protocol, name)} == set()
    with pytest.raises(AttributeError):
        _ = protocol.nothing_of_the_kind


def test_autobahn_takes_compression_by_the_hook_and_the_table_that_we_set() -> None:
    source = inspect.getsource(WebSocketServerProtocol.succeedHandshake)
    assert "accept = self.perMessageCompressionAccept(pmceOffers)" in source
    assert 'PMCE["PMCE"].create_from_offer_accept(' in source
    assert "max_output_len" in inspect.getsource(AutobahnProtocol.onFrameData), "what inflates is not bounded"
