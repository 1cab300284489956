"""`/metrics`, `/healthz` and `/readyz`: what they answer, to whom, and within which bounds."""

from __future__ import annotations

import json
import logging
import re
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import pytest
import trio
from prometheus_client import CollectorRegistry, Gauge
from trio.testing import MockClock, lockstep_stream_pair, memory_stream_pair

from feishu_trio import ConfigError, InboxCounts, MemoryInbox, Probes, Router, open_probes
from feishu_trio.metrics import Collector
from feishu_trio.testing import Gateway, open_gateway
from session.rig import open_real_session, open_session

GET = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


@asynccontextmanager
async def client(probes: Probes) -> AsyncGenerator[trio.StapledStream[Any, Any], None]:
    """A client's end of a stream that is served."""
    ours, theirs = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(probes.serve, theirs)
        yield ours
        nursery.cancel_scope.cancel()


async def to_the_end(stream: trio.abc.ReceiveStream) -> bytes:
    with trio.fail_after(1000):
        return b"".join([part async for part in stream])


async def asked(probes: Probes, *sent: bytes) -> list[str]:
    """The answers to some requests of one client, the last of which ends it."""
    async with client(probes) as stream:
        for each in sent:
            await stream.send_all(each)
        answers = (await to_the_end(stream)).decode()
    return re.split(r"(?<!^)(?=HTTP/1\.1 \d)", answers)


def body_of(answer: str) -> str:
    return answer.partition("\r\n\r\n")[2]


@pytest.fixture
def probes() -> Probes:
    return Probes(None, None)


# HTTP


async def test_it_is_live_while_its_loop_runs(autojump_clock: MockClock, probes: Probes) -> None:
    (answer,) = await asked(probes, LAST)
    assert answer.startswith("HTTP/1.1 200 ")
    assert json.loads(body_of(answer)) == {"ok": True}
    assert "cache-control: no-store" in answer.lower()


async def test_a_client_may_ask_again_and_again(autojump_clock: MockClock, probes: Probes) -> None:
    first, second, third = await asked(probes, GET + GET[:9], GET[9:], LAST)
    assert first == second
    assert "connection: close" in third.lower()
    async with client(probes) as stream:
        for _ in range(999):
            await stream.send_all(GET)
            assert b"onnection: close" not in await stream.receive_some()
        await stream.send_all(GET)
        assert b"onnection: close" in await to_the_end(stream)


@pytest.mark.parametrize(
    ("request_line", "status", "words"),
    [
        ("GET /healthz HTTP/1.0", 200, '"ok": true'),
        ("GET /healthz?verbose=1 HTTP/1.1", 200, '"ok": true'),
        ("GET / HTTP/1.1", 404, "/metrics, /healthz, /readyz"),
        ("GET /healthz/ HTTP/1.1", 404, "/healthz"),
        ("OPTIONS * HTTP/1.1", 404, "/healthz"),
        ("DELETE /healthz HTTP/1.1", 405, "GET and HEAD"),
        ("GET /metrics HTTP/1.1", 501, "pip install 'feishu-trio[metrics]'"),
        ("GET /readyz HTTP/1.1", 503, "no session is connected yet"),
        ("\x16\x03\x01\x02\x00", 400, ""),
        (f"GET /{'x' * 40_000} HTTP/1.1", 431, ""),
        (f"GET / HTTP/1.1\r\nX: {'x' * 40_000}", 431, ""),
        ("GET / HTTP/1.1\r\nX : a", 400, ""),
    ],
)
async def test_what_is_asked_and_what_is_answered(
    autojump_clock: MockClock, probes: Probes, request_line: str, status: int, words: str
) -> None:
    (answer,) = await asked(probes, f"{request_line}\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(f"HTTP/1.1 {status} ")
    assert words in body_of(answer)
    assert "connection: close" in answer.lower()
    assert ("allow: get, head" in answer.lower()) == (status == 405)


async def test_a_head_is_answered_without_its_body(autojump_clock: MockClock, probes: Probes) -> None:
    (head,) = await asked(probes, LAST.replace(b"GET", b"HEAD"))
    (get,) = await asked(probes, LAST)
    assert (head.partition("\r\n\r\n")[0], body_of(head)) == (get.partition("\r\n\r\n")[0], "")


async def test_a_body_is_not_read_and_its_sender_has_an_answer() -> None:
    async with open_probes(host="127.0.0.1", registry=CollectorRegistry()) as probes:
        with trio.fail_after(5):
            stream = await trio.open_tcp_stream("127.0.0.1", probes.port)
            async with stream:
                await stream.send_all(
                    b"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 40000\r\n\r\n" + bytes(40_000)
                )
                answer = await to_the_end(stream)
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert b"onnection: close" in answer


# Bounds


@pytest.mark.parametrize(("sent", "seconds"), [(b"", 5), (b"GET /he", 5), (GET, 120), (GET + GET[:9], 120)])
async def test_a_slow_client_is_parted_with(
    autojump_clock: MockClock, probes: Probes, sent: bytes, seconds: float
) -> None:
    async with client(probes) as stream:
        if sent:
            await stream.send_all(sent)
        start = trio.current_time()
        await to_the_end(stream)
        assert trio.current_time() - start == pytest.approx(seconds)


async def test_a_request_that_drips_is_parted_with(autojump_clock: MockClock, probes: Probes) -> None:
    async with client(probes) as stream:
        start = trio.current_time()
        with suppress(trio.BrokenResourceError):
            for _ in range(100):
                await stream.send_all(b"x")
                await trio.sleep(0.5)
        assert trio.current_time() - start == pytest.approx(5, abs=0.6)


async def test_a_client_that_does_not_take_its_answer_is_parted_with(
    autojump_clock: MockClock, probes: Probes
) -> None:
    ours, theirs = lockstep_stream_pair()  # nothing is sent before it is read
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(probes.serve, theirs)
        await ours.send_all(GET)
    assert trio.current_time() - start == pytest.approx(10)


async def test_of_too_many_clients_the_one_that_has_asked_nothing_for_longest_leaves(
    autojump_clock: MockClock, probes: Probes
) -> None:
    ends = []
    async with trio.open_nursery() as nursery:
        for _ in range(64):
            ours, theirs = memory_stream_pair()
            nursery.start_soon(probes.serve, theirs)
            await trio.testing.wait_all_tasks_blocked()
            ends.append(ours)
        await ends[0].send_all(GET)
        assert await ends[0].receive_some()
        async with client(probes) as newcomer:
            await newcomer.send_all(GET)
            assert await newcomer.receive_some()
            assert await ends[1].receive_some() == b"", "it has asked nothing"
            for kept in (ends[0], ends[2]):
                await kept.send_all(GET)
                assert await kept.receive_some()
        nursery.cancel_scope.cancel()


async def test_a_defect_is_logged_and_ends_that_client_alone(
    autojump_clock: MockClock, probes: Probes, caplog: pytest.LogCaptureFixture
) -> None:
    probes.paths = {"/healthz": trio.sleep}  # type: ignore[dict-item]
    async with client(probes) as stream:
        await stream.send_all(GET)
        assert await to_the_end(stream) == b""
        await trio.testing.wait_all_tasks_blocked()
    assert [record.message for record in caplog.records] == ["a request was not answered"]


# Ready or not


async def ready(probes: Probes) -> tuple[int, list[str]]:
    (answer,) = await asked(probes, LAST.replace(b"/healthz", b"/readyz"))
    said = json.loads(body_of(answer))
    assert said["ok"] == (not said["reasons"])
    return int(answer.split()[1]), said["reasons"]


async def warned(probes: Probes) -> list[str]:
    """What it says beside being ready."""
    (answer,) = await asked(probes, LAST.replace(b"/healthz", b"/readyz"))
    said = json.loads(body_of(answer))
    assert (answer.split()[1], said["ok"]) == ("200", True)
    warnings: list[str] = said["warnings"]
    return warnings


async def test_it_is_ready_while_it_is_connected_and_not_when_it_drains(
    autojump_clock: MockClock, probes: Probes
) -> None:
    router, goes_on = Router(), trio.Event()

    @router.on("x.y")
    async def wait(event: object) -> None:
        await goes_on.wait()

    async with open_gateway() as gateway, open_session(gateway, router=router) as session:
        probes.add(session)
        assert await ready(probes) == (200, [])
        push = await gateway.push("x.y", {})
        await trio.testing.wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.aclose)
            await trio.testing.wait_all_tasks_blocked()
            assert await ready(probes) == (503, ["the session is closing"])
            goes_on.set()
        assert (await push.settled()).code == 200
        assert await ready(probes) == (503, ["the session is closed"])


async def test_it_is_not_ready_while_its_connection_is_lost(
    autojump_clock: MockClock, probes: Probes
) -> None:
    async with open_gateway() as gateway, open_session(gateway) as session:
        probes.add(session)
        gateway.refuse_discovery(1)
        await gateway.drop()
        await trio.sleep(10)
        why = "Feishu could not take the connection: code 1 (refused)"
        assert await ready(probes) == (503, [f"the session is reconnecting: {why}"])
        gateway.accept()
        await session.wait_state(session.state.CONNECTED)
        assert await ready(probes) == (200, [])
        gateway.refuse_discovery(1, "\n" + 1000 * "x")
        await gateway.drop()
        await trio.sleep(10)
        (_, (reason,)) = await ready(probes)
        assert reason.isprintable()
        assert len(reason) < 500, "a server has no say in how long it is"


async def test_it_names_what_is_stuck_also_while_it_is_ready(
    autojump_clock: MockClock, probes: Probes
) -> None:
    router = Router()

    @router.on("x.y", name="hangs")
    async def hangs(event: object) -> None:
        await trio.sleep_forever()

    async with (
        open_gateway() as gateway,
        open_session(gateway, router=router, shutdown_timeout=1) as one,
        open_session(gateway) as other,
    ):
        probes.add(one)
        await gateway.push("x.y", connection=gateway.connections[0])
        await trio.sleep(59)
        assert await warned(probes) == []
        await trio.sleep(2)
        (warning,) = await warned(probes)
        assert warning.startswith("handler hangs has been at work for 6")
        probes.add(other, "other")
        (warning,) = await warned(probes)
        assert warning.startswith(f"{gateway.app_id} as session: handler hangs has been at work for 6")


class Stuck(MemoryInbox):
    """An inbox that may stop answering."""

    patience: float = 0.0
    asked: int = 0

    async def counts(self) -> InboxCounts:
        self.asked += 1
        await trio.sleep(self.patience)
        return await super().counts()


async def test_it_is_not_ready_while_its_inbox_does_not_answer(
    autojump_clock: MockClock, probes: Probes
) -> None:
    inbox = Stuck()
    async with open_gateway() as gateway, open_session(gateway, inbox=inbox, router=Router()) as session:
        probes.add(session)
        assert await ready(probes) == (200, [])
        await trio.sleep(5)
        inbox.patience = 10
        start = trio.current_time()
        code, reasons = await ready(probes)
        assert code == 503
        assert trio.current_time() - start == pytest.approx(1)
        assert reasons == [f"{inbox!r} has not answered within 1 s"]


async def test_the_inbox_is_asked_once_a_second_however_many_ask(
    autojump_clock: MockClock, probes: Probes
) -> None:
    inbox = Stuck()
    inbox.patience = 0.1
    async with open_gateway() as gateway, open_session(gateway, inbox=inbox, router=Router()) as session:
        probes.add(session)
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(ready, probes)
        assert inbox.asked == 1
        await trio.sleep(1)
        await ready(probes)
        assert inbox.asked == 2


async def test_of_several_services_each_has_to_be_ready(autojump_clock: MockClock, probes: Probes) -> None:
    async with open_gateway() as gateway, open_session(gateway) as one, open_session(gateway) as other:
        probes.add(one, "one")
        probes.add(other, "other")
        assert await ready(probes) == (200, [])
        await other.aclose()
        assert await ready(probes) == (503, [f"{gateway.app_id} as other: the session is closed"])


# Where it listens


async def test_it_shows_the_services_metrics_beside_ones_own(feishu_gateway: Gateway) -> None:
    registry = CollectorRegistry()
    Gauge("own", "One's own.", registry=registry).set(7)
    async with (
        open_probes(host="127.0.0.1", registry=registry) as probes,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{probes.port}", trust_env=False) as http,
    ):
        early = (await http.get("/metrics")).text
        assert "own 7.0" in early
        assert "feishu_build_info{" in early
        assert "feishu_healthy{" not in early
        async with open_real_session(feishu_gateway) as session:
            probes.add(session)
            plain = await http.get("/metrics")
            assert plain.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            assert f'feishu_healthy{{app_id="{feishu_gateway.app_id}",role="session"}} 1.0' in plain.text
            accept = {"Accept": "application/openmetrics-text; version=1.0.0,text/plain;q=0.5"}
            other = await http.get("/metrics", headers=accept)
            assert other.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
            assert other.text.endswith("# EOF\n")
    assert not list(registry.restricted_registry(["feishu_build_info"]).collect()), "it was taken out again"


async def test_a_collector_that_raises_is_an_error_of_its_own(
    feishu_gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    registry = CollectorRegistry()
    Gauge("own", "One's own.", registry=registry).set_function(lambda: 1 / 0)
    async with (
        open_probes(host="127.0.0.1", registry=registry) as probes,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{probes.port}", trust_env=False) as http,
    ):
        assert (await http.get("/metrics")).status_code == 500
        assert (await http.get("/healthz")).status_code == 200
    assert "the metrics could not be read" in caplog.text


@pytest.mark.parametrize("accept", ["text/plain; version=x", "application/openmetrics-text;version=1..0"])
async def test_metrics_for_whoever_wants_a_version_that_is_none(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, accept: str
) -> None:
    registry = CollectorRegistry()
    Gauge("own", "One's own.", registry=registry).set(7)
    request = f"GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
    (answer,) = await asked(Probes(registry, None), request.encode())
    assert answer.startswith("HTTP/1.1 200 ")
    assert "text/plain; version=0.0.4" in answer
    assert "own 7.0" in body_of(answer)
    assert not caplog.records


async def test_any_free_port_is_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="feishu_trio.probes")
    async with open_probes(host="127.0.0.1", registry=CollectorRegistry()) as probes:
        assert caplog.messages == [f"at http://127.0.0.1:{probes.port} are /metrics, /healthz, /readyz"]


async def test_a_port_that_is_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as used:
        port = used.getsockname()[1]
        with pytest.raises(
            ConfigError, match=rf"^port: {port} at 127\.0\.0\.1 cannot be listened on \(.*in use"
        ):
            async with open_probes(port=port, host="127.0.0.1", registry=CollectorRegistry()):
                pass


@pytest.mark.parametrize("port", [-1, 65536, "80", 1.5, True])
async def test_what_is_no_port(port: Any) -> None:
    with pytest.raises(ConfigError, match="a whole number from 0 to 65535"):
        async with open_probes(port=port):
            pass


async def test_a_registry_that_has_a_collector_already() -> None:
    registry = CollectorRegistry()
    registry.register(Collector())
    with pytest.raises(ConfigError, match=r"it has a feishu_trio\.metrics\.Collector already"):
        async with open_probes(host="127.0.0.1", registry=registry):
            pass


async def test_an_error_leaves_the_block_as_itself() -> None:
    error = ZeroDivisionError()

    async def fail() -> None:
        async with open_probes(host="127.0.0.1", registry=CollectorRegistry()):
            raise error

    with pytest.raises(ZeroDivisionError) as raised:
        await fail()
    assert raised.value is error


async def test_without_the_extra_there_are_probes_and_no_metrics(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="feishu_trio.probes")
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.delitem(sys.modules, "feishu_trio.metrics")
    async with (
        open_probes(host="127.0.0.1") as probes,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{probes.port}", trust_env=False) as http,
    ):
        answer = await http.get("/metrics")
        assert (answer.status_code, "pip install 'feishu-trio[metrics]'" in answer.text) == (501, True)
        assert "pip install 'feishu-trio[metrics]'" in caplog.messages[1]
        assert (await http.get("/healthz")).status_code == 200
        assert (await http.get("/readyz")).status_code == 503
