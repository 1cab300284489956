"""TLS over a stream, on loopback sockets, with trio's own at the other end."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
import trustme

from feishu_trio import ConfigError
from feishu_trio.connection.tcp import TCPStream
from feishu_trio.connection.tls import TLSStream, default_ssl_context
from session.rig import come_true

Pair = tuple[TLSStream, "trio.SSLStream[Any]"]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module", params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def contexts(request: pytest.FixtureRequest, authority: trustme.CA) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The client's, and the server's."""
    client, server = ssl.create_default_context(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.configure_trust(client)
    authority.issue_cert("localhost").configure_cert(server)
    server.maximum_version = request.param
    return client, server


async def tls_pair(contexts: tuple[ssl.SSLContext, ssl.SSLContext], *, over_tcp: bool = True) -> Pair:
    client, server = contexts
    ours: trio.abc.Stream
    theirs: trio.abc.Stream
    if over_tcp:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        async with listener:
            ours = TCPStream(await trio.testing.open_stream_to_socket_listener(listener))
            theirs = await listener.accept()
    else:
        ours, theirs = trio.testing.memory_stream_pair()
    stream = TLSStream(ours, client, "localhost")
    peer = trio.SSLStream(theirs, server, server_side=True, https_compatible=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.do_handshake)
        await stream.do_handshake()
    return stream, peer


@pytest.mark.parametrize("over_tcp", [True, False], ids=["TCP", "memory"])
async def test_it_is_a_stream_as_trio_wants_them(contexts: Any, over_tcp: bool) -> None:
    await trio.testing.check_two_way_stream(lambda: tls_pair(contexts, over_tcp=over_tcp), None)


async def test_many_records_come_in_one_read(contexts: Any) -> None:
    stream, peer = await tls_pair(contexts, over_tcp=False)
    async with stream, peer:
        for number in range(20):
            await peer.send_all(b"%02d" % number)
        assert await stream.receive_some() == b"".join(b"%02d" % number for number in range(20))


async def test_no_more_is_given_than_was_asked_for_and_none_is_lost(contexts: Any) -> None:
    stream, peer = await tls_pair(contexts)
    data = bytes(range(256)) * 1000
    received = bytearray()
    async with stream, trio.open_nursery() as nursery:

        async def send() -> None:
            await peer.send_all(data)
            await trio.aclose_forcefully(peer.transport_stream)

        nursery.start_soon(send)
        while part := await stream.receive_some(1000):
            assert len(part) <= 1000
            received += part
    assert received == data


async def test_what_a_socket_does_not_take_is_held_and_sent_later(contexts: Any) -> None:
    stream, peer = await tls_pair(contexts)
    sent = bytearray()
    async with stream, peer:
        while True:
            data = bytes([len(sent) % 251]) * 50_000
            taken = stream.send_now(data)
            sent += data[:taken]
            if stream.holds or not taken:
                break
        assert stream.holds
        assert stream.send_now(b"x") == 0, "not before what it holds"
        received = bytearray()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, b"last")
            while len(received) < len(sent) + 4:
                received += await peer.receive_some()
        assert received == sent + b"last"
        assert not stream.holds
        assert stream.send_now(b"at once") == 7
        assert await peer.receive_some() == b"at once"


async def test_the_end_of_the_stream_is_the_end_with_and_without_a_goodbye(contexts: Any) -> None:
    for politely in (True, False):
        stream, peer = await tls_pair(contexts)
        async with stream:
            await peer.send_all(b"last")
            if politely:
                peer._https_compatible = False
                with trio.move_on_after(0.05):
                    await peer.aclose()
            await trio.aclose_forcefully(peer.transport_stream)
            assert await stream.receive_some() == b"last"
            assert await stream.receive_some() == b""
            assert await stream.receive_some() == b""


async def test_what_is_no_tls_is_an_error_of_tls(contexts: Any) -> None:
    stream, peer = await tls_pair(contexts, over_tcp=False)
    async with stream, peer:
        await peer.send_all(b"good")
        await peer.transport_stream.send_all(b"bad" * 100)
        assert await stream.receive_some() == b"good"
        for _ in range(2):
            with pytest.raises(trio.BrokenResourceError) as caught:
                await stream.receive_some()
            assert isinstance(caught.value.__cause__, ssl.SSLError)


async def test_after_a_write_that_was_cut_short_nothing_is_sent(contexts: Any) -> None:
    stream, peer = await tls_pair(contexts)
    async with stream, peer:
        with trio.move_on_after(0.05):
            await stream.send_all(bytes(50_000_000))
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all(b"more")
        with pytest.raises(trio.BrokenResourceError):
            stream.send_now(b"more")


async def test_a_send_that_gets_on_no_further_holds_up_no_reading(contexts: Any) -> None:
    stream, peer = await tls_pair(contexts)
    async with stream, peer, trio.open_nursery() as nursery:
        await peer.send_all(b"first")  # along with which trio's server sends its tickets
        assert await stream.receive_some() == b"first"
        nursery.start_soon(stream.send_all, bytes(50_000_000))
        await trio.testing.wait_all_tasks_blocked(0.05)
        stream._outgoing.write(b"as for new keys")  # Python's ssl cannot make a peer ask for them
        peer._ssl_object.write(b"hello")
        record = peer._outgoing.read()
        await peer.transport_stream.send_all(record[:5])
        received: list[bytes] = []

        async def receive() -> None:
            received.append(await stream.receive_some())

        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked(0.05)
        await peer.transport_stream.send_all(record[5:])
        with trio.fail_after(2):
            await come_true(lambda: received == [b"hello"])
        nursery.cancel_scope.cancel()


async def test_what_tls_says_to_data_is_said_before_more_is_waited_for(contexts: Any) -> None:
    stream, peer = await tls_pair(contexts, over_tcp=False)
    async with stream, peer, trio.open_nursery() as nursery:
        await peer.send_all(b"data")
        assert await stream.receive_some() == b"data"
        stream._outgoing.write(b"as for new keys")
        nursery.start_soon(stream.receive_some)
        with trio.fail_after(2):
            assert await peer.transport_stream.receive_some() == b"as for new keys"
        nursery.cancel_scope.cancel()


async def test_a_peer_that_takes_nothing_cannot_have_ever_more_said_to_it(contexts: Any) -> None:
    stream, peer = await tls_pair(contexts)
    async with stream, peer, trio.open_nursery() as nursery:
        await peer.send_all(b"first")
        assert await stream.receive_some() == b"first"
        nursery.start_soon(stream.send_all, bytes(50_000_000))
        await trio.testing.wait_all_tasks_blocked(0.05)
        received: list[bytes] = []

        async def receive() -> None:
            while True:
                received.append(await stream.receive_some())
                stream._outgoing.write(bytes(20_000))  # as if asked for new keys all the time

        nursery.start_soon(receive)
        for _ in range(10):
            await peer.send_all(b"again")
            await trio.testing.wait_all_tasks_blocked(0.01)
        assert len(received) == 4, "it says no more than 64 kB behind what is stuck"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("has_ended", [False, True], ids=["in the middle", "after the end"])
async def test_once_closed_it_gives_nothing_not_even_what_had_come(contexts: Any, has_ended: bool) -> None:
    stream, peer = await tls_pair(contexts)
    await peer.send_all(b"data")
    assert await stream.receive_some(1) == b"d"
    await trio.aclose_forcefully(peer.transport_stream)
    if has_ended:
        assert await stream.receive_some() == b"ata"
        assert await stream.receive_some() == b""
    await stream.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await stream.receive_some()


@pytest.mark.parametrize("content", [None, "no certificate"], ids=["no file", "no certificate"])
def test_authorities_that_cannot_be_read_are_told_by_their_variable(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "authorities.pem"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with pytest.raises(
        ConfigError, match=r"^SSL_CERT_FILE: .*authorities\.pem. cannot be used: .*(No such|no cert)"
    ) as caught:
        default_ssl_context.__wrapped__()
    assert isinstance(caught.value.__cause__, OSError)
