"""`/metrics`, `/healthz` and `/readyz` over HTTP, for Prometheus and Kubernetes: a few small answers, within bounds.

The requests are read by h11, as trio-websocket's are.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import h11
import msgspec
import trio

from .config.rules import number
from .errors import ConfigError, InboxError
from .service import Service

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from .metrics import Collector

__all__ = ["EVERYWHERE", "Probes", "open_probes"]

logger = logging.getLogger("feishu_trio.probes")

EVERYWHERE: Final = "0.0.0.0"
"""All of this machine's addresses: Kubernetes and Prometheus come from other machines."""

# Clients at a time; a newcomer takes the place of the one that has asked nothing for the longest time.
_CLIENTS: Final = 64
# Seconds for a client's request from its first byte on (of a new client from its connection on), between two
# requests, for it to take an answer, and to close its end.
_READING: Final = 5.0
_RESTING: Final = 120.0
_WRITING: Final = 10.0
_CLOSING: Final = 1.0
_REQUESTS: Final = 1000  # of one client, one after the other; then it is to connect anew
_LARGEST_HEAD: Final = 16 << 10  # bytes of a request; its body is not read
_READ_SIZE: Final = 4096
# What may come after a request that is not read on, before the connection is closed.
_LARGEST_REST: Final = 64 << 10
# Seconds for all inboxes to say what they hold.
_ASKING: Final = 1.0

_PORT: Final = number(int, 0, 65535)

_TEXT: Final = "text/plain; charset=utf-8"
_JSON: Final = "application/json"
_NO_METRICS: Final = (
    "there are no metrics, as prometheus-client is not installed: pip install 'feishu-trio[metrics]'"
)


class _Answer(msgspec.Struct, frozen=True):
    status: int
    body: bytes
    content_type: str = _TEXT
    headers: tuple[tuple[str, str], ...] = ()


def _json(status: int, **facts: object) -> _Answer:
    return _Answer(status, json.dumps(facts, ensure_ascii=False).encode() + b"\n", _JSON)


class Probes:
    """What `open_probes` serves. Services may be added while it does: until there is one, it is not ready."""

    def __init__(self, registry: CollectorRegistry | None, collector: Collector | None) -> None:
        self.port = 0
        """Where it listens."""
        self._registry = registry
        self._collector = collector
        self._services: dict[Service, str] = {}
        self._clients: dict[trio.CancelScope, None] = {}  # the one that has asked nothing for longest first
        self.paths = {"/metrics": self._metrics, "/healthz": self._live, "/readyz": self._ready}
        """What is served, and what answers it."""

    def add(self, service: Service, role: str | None = None) -> None:
        """Tell of a session or a worker from here on, also after it has closed. `role` as in `metrics.Collector`.

        Raises:
            ValueError: One of the same app and role is there already.
        """
        if self._collector is not None:
            self._collector.add(service, role)
        self._services[service] = f"{service.config.app_id} as {role or type(service).__name__.lower()}"

    # Answers

    async def _answer(self, request: h11.Request) -> _Answer:
        path = request.target.partition(b"?")[0].decode("latin-1")
        answer = self.paths.get(path)
        if answer is None:
            return _Answer(404, f"here are {', '.join(self.paths)}\n".encode())
        if request.method not in (b"GET", b"HEAD"):
            return _Answer(405, b"GET and HEAD\n", headers=(("Allow", "GET, HEAD"),))
        accept = ",".join(
            value.decode("latin-1") for name, value in request.headers if name.lower() == b"accept"
        )
        return await answer(accept)

    async def _live(self, _accept: str) -> _Answer:
        """It answers, so its loop runs."""
        await trio.lowlevel.checkpoint()
        return _json(200, ok=True)

    async def _ready(self, _accept: str) -> _Answer:
        reasons: list[str] = []
        warnings: list[str] = []
        async with trio.open_nursery() as nursery:
            for service, name in self._services.items():
                nursery.start_soon(self._look_at, service, name, reasons, warnings)
        if all(service.is_starting for service in self._services):
            reasons.insert(0, "it is still starting: no session is connected yet")
        return _json(503 if reasons else 200, ok=not reasons, reasons=reasons, warnings=warnings)

    async def _look_at(self, service: Service, name: str, reasons: list[str], warnings: list[str]) -> None:
        found: list[str] = []
        try:
            if not service.is_starting:  # else its inbox is not open
                await service.count_inbox(_ASKING)
        except InboxError as error:
            found.append(str(error))
        health = service.health()  # of now, as the inbox may have taken a while
        prefix = "" if len(self._services) == 1 else f"{name}: "
        reasons += [f"{prefix}{reason}" for reason in (*health.reasons, *found)]
        warnings += [f"{prefix}{warning}" for warning in health.warnings]

    async def _metrics(self, accept: str) -> _Answer:
        if self._registry is None:
            return _Answer(501, f"{_NO_METRICS}\n".encode())
        from prometheus_client.exposition import choose_encoder

        if self._collector is not None:
            await self._collector.refresh(_ASKING)
        try:
            encode, content_type = choose_encoder(accept)
        except (TypeError, ValueError):  # a version in it is no number: no client is refused for that
            encode, content_type = choose_encoder("")
        try:
            return _Answer(200, encode(self._registry), content_type)
        except Exception:  # a collector of the user's own, in the same registry
            logger.exception("the metrics could not be read")
            return _Answer(500, b"the metrics could not be read; the log says why\n")

    # Clients

    async def serve(self, stream: trio.abc.HalfCloseableStream) -> None:
        """Serve one client, until it has enough, or is too slow, or another needs its place."""
        if len(self._clients) >= _CLIENTS:
            longest = next(iter(self._clients))
            del self._clients[longest]
            longest.cancel()
        with trio.CancelScope() as scope:
            self._clients[scope] = None
            try:
                async with stream:
                    await self._converse(stream, scope)
            except trio.BrokenResourceError:
                pass  # it has left
            except Exception:  # a defect here shall not end what is being watched
                logger.exception("a request was not answered")
            finally:
                self._clients.pop(scope, None)

    async def _converse(self, stream: trio.abc.HalfCloseableStream, scope: trio.CancelScope) -> None:
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=_LARGEST_HEAD)
        for count in range(1, _REQUESTS + 1):
            method, is_last = b"", True
            try:
                request = await _read(http, stream, _READING if count == 1 else _RESTING)
                if request is None:
                    return
                method = request.method
                has_body = not isinstance(http.next_event(), h11.EndOfMessage)
                is_last = has_body or count == _REQUESTS
                if scope in self._clients:  # it comes last, as it has just asked
                    self._clients[scope] = self._clients.pop(scope)
                answer = await self._answer(request)
            except h11.RemoteProtocolError as error:
                answer = _Answer(error.error_status_hint, f"{error}\n".encode())
            with trio.move_on_after(_WRITING) as writing:
                await stream.send_all(_bytes_of(http, answer, method, is_last=is_last))
            if writing.cancelled_caught:
                return
            if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
                break
            http.start_next_cycle()
        await _part(stream)


async def _read(
    http: h11.Connection, stream: trio.abc.HalfCloseableStream, patience: float
) -> h11.Request | None:
    """The next request; None if there is none in time, or the client has left.

    Raises:
        h11.RemoteProtocolError: It is none.
    """
    with trio.move_on_after(patience) as scope:
        while (event := http.next_event()) is h11.NEED_DATA:
            http.receive_data(bytes(await stream.receive_some(_READ_SIZE)))
            scope.deadline = min(scope.deadline, trio.current_time() + _READING)
        if isinstance(event, h11.Request):
            return event
    return None


def _bytes_of(http: h11.Connection, answer: _Answer, method: bytes, *, is_last: bool) -> bytes:
    headers = [
        ("Content-Type", answer.content_type),
        ("Content-Length", str(len(answer.body))),
        ("Cache-Control", "no-store"),
        *answer.headers,
        *([("Connection", "close")] if is_last else []),
    ]
    body = b"" if method == b"HEAD" else answer.body
    events = (
        h11.Response(status_code=answer.status, headers=headers),
        h11.Data(data=body),
        h11.EndOfMessage(),
    )
    return b"".join(http.send(event) or b"" for event in events)


async def _part(stream: trio.abc.HalfCloseableStream) -> None:
    """Part with a client that may still be sending: closed with that unread, it would not get its answer."""
    with trio.move_on_after(_CLOSING):
        await stream.send_eof()
        rest = _LARGEST_REST
        while rest > 0 and (data := await stream.receive_some(_READ_SIZE)):
            rest -= len(data)


# Opening


@asynccontextmanager
async def open_probes(
    *services: Service, port: int = 0, host: str = EVERYWHERE, registry: CollectorRegistry | None = None
) -> AsyncGenerator[Probes, None]:
    """Answer `/metrics`, `/healthz` and `/readyz` over HTTP while the block runs: `async with open_probes(port=9090)`.

    `/healthz` is 200 while the loop runs. `/readyz` is 200 while each of the services is connected and healthy and its
    inbox answers, and else 503, with the reasons in JSON: before there is a service (`Probes.add`), and from when it begins
    to close. With both come the warnings of `Service.health`. `/metrics` needs the extra `metrics`.

    Args:
        services: Sessions and workers; `Probes.add` adds others, once they are open.
        port: Where to listen; 0 is any free one, which the log names, and `Probes.port`.
        host: The address to listen at; all of this machine's, if not given.
        registry: What `/metrics` shows: all that it has. The services' metrics are added to it for as long as the block
            runs. None is `prometheus_client.REGISTRY`, where one's own metrics are as a rule.

    Raises:
        ConfigError: It cannot listen there; or the registry has a `Collector` already.
    """
    _PORT.check("port", port)
    registry, collector = _metrics_of(registry)
    probes = Probes(registry, collector)
    for service in services:
        probes.add(service)
    failure: BaseException | None = None
    with _registered(registry, collector):
        listeners = await _listen(port, host)
        probes.port = listeners[0].socket.getsockname()[1]
        shown_host = f"[{host}]" if ":" in host else host
        logger.info("at http://%s:%d are %s", shown_host, probes.port, ", ".join(probes.paths))
        if registry is None:
            logger.info(_NO_METRICS)
        async with trio.open_nursery() as nursery:
            serve = partial(trio.serve_listeners, probes.serve, listeners, handler_nursery=nursery)
            nursery.start_soon(serve, name="feishu_trio probes")
            try:
                yield probes
            except BaseException as error:
                failure = error  # raised below, so that the nursery does not wrap it in a group
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _listen(port: int, host: str) -> list[trio.SocketListener]:
    try:
        return await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        why = error.strerror or str(error)
        raise ConfigError(
            f"port: {port} at {host} cannot be listened on ({why}); choose another address, or another port, 0 for any that is free"
        ) from error


def _metrics_of(registry: CollectorRegistry | None) -> tuple[CollectorRegistry | None, Collector | None]:
    """What is scraped, and what of it is ours; nothing, where the extra is not installed."""
    try:
        from prometheus_client import REGISTRY

        from .metrics import Collector
    except ModuleNotFoundError as error:
        if error.name != "prometheus_client":
            raise
        return None, None
    return REGISTRY if registry is None else registry, Collector()


@contextmanager
def _registered(registry: CollectorRegistry | None, collector: Collector | None) -> Iterator[None]:
    if registry is None or collector is None:
        yield
        return
    try:
        registry.register(collector)
    except ValueError as error:
        raise ConfigError(
            "registry: it has a feishu_trio.metrics.Collector already, and open_probes adds one of its own; "
            "leave that to it, or give it another registry"
        ) from error
    try:
        yield
    finally:
        registry.unregister(collector)
