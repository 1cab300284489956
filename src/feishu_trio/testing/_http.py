"""HTTP/1.1 over a line, by h11: requests in, responses out, and the upgrade to a WebSocket."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from urllib.parse import parse_qsl

import attrs
import h11
import msgspec

from ._json import decoded_object
from ._line import Line

LARGEST_BODY: Final = 64 << 20
"""Bytes of a request's body: twice as many as the largest file that Feishu takes."""


@attrs.frozen
class Request:
    """A request, whole. Headers and bodies hold secrets, so its repr shows neither, nor the query."""

    method: str
    """Such as `POST`."""
    path: str
    """Without the query."""
    query: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    """The last value of a repeated name; `values` has them all."""
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    """Names in lower case."""
    body: bytes = attrs.field(default=b"", repr=False)
    """As it came; empty if there was none."""
    target: str = attrs.field(default="", repr=False)
    """With the query, as it came."""

    def values(self, name: str) -> list[str]:
        """All values of a name in the query."""
        return [value for each, value in parse_qsl(self.target.partition("?")[2]) if each == name]

    def json(self) -> dict[str, object]:
        """The body as a JSON object; empty if the body is something else."""
        return decoded_object(self.body) or {}

    @classmethod
    def of(cls, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Request:
        """A request from its target, e.g. `/path?a=1`."""
        path, _, query = target.partition("?")
        return cls(method, path, dict(parse_qsl(query)), headers, body, target)


@attrs.frozen
class Response:
    """A response, whole."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    is_cut: bool = False
    """Whether the connection ends in the middle of it."""

    @property
    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """As bytes, values in UTF-8, for the platform's messages can be Chinese."""
        return [(name.encode("ascii"), value.encode()) for name, value in self.headers]


def json_response(body: object, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    """A response whose body is JSON."""
    return Response(
        status, msgspec.json.encode(body), (("Content-Type", "application/json; charset=utf-8"), *headers)
    )


@attrs.frozen
class Upgrade:
    """A request to change to the WebSocket protocol."""

    request: Request
    raw_headers: list[tuple[bytes, bytes]]
    target: str
    trailing: bytes
    """What the client has sent after the request."""


async def serve_http(
    line: Line,
    answer: Callable[[Request], Awaitable[Response]],
    upgrade: Callable[[Line, Upgrade], Awaitable[Response | None]],
) -> None:
    """Answer requests until the client or the protocol ends the exchange.

    `upgrade` serves the whole WebSocket and returns None, or else returns the response that refuses it.
    """
    http = h11.Connection(h11.SERVER)
    while True:
        try:
            request = await _read(http, line)
        except h11.RemoteProtocolError as error:
            refusal = Response(error.error_status_hint, str(error).encode(), (("Connection", "close"),))
            return _write(http, line, "", refusal)
        if request is None:
            return None
        if isinstance(request, Upgrade):
            response = await upgrade(line, request)
            if response is None:
                return None
            _write(http, line, "GET", response)
        else:
            _write(http, line, request.method, await answer(request))
        if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
            return None
        http.start_next_cycle()


async def _read(http: h11.Connection, line: Line) -> Request | Upgrade | None:
    head: h11.Request | None = None
    body = bytearray()
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            if http.they_are_waiting_for_100_continue:
                line.send(http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
            http.receive_data(await line.receive())
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > LARGEST_BODY:
                raise h11.RemoteProtocolError(
                    f"the body has more than {LARGEST_BODY} bytes", error_status_hint=413
                )
        elif isinstance(event, h11.EndOfMessage):
            assert head is not None
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
            target = head.target.decode("latin-1")
            request = Request.of(head.method.decode("ascii"), target, headers, bytes(body))
            if request.method != "GET" or headers.get("upgrade", "").lower() != "websocket":
                return request
            return Upgrade(request, list(head.headers), target, http.trailing_data[0])
        else:
            return None


def _write(http: h11.Connection, line: Line, method: str, response: Response) -> None:
    if http.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
        return
    headers = [*response.raw_headers, (b"Content-Length", b"%d" % len(response.body))]
    head = h11.Response(status_code=response.status, headers=headers)
    body = b"" if method == "HEAD" else response.body
    if response.is_cut:  # and `serve_http` ends, as the answer is not done
        line.send(
            b"".join(http.send(event) or b"" for event in (head, h11.Data(data=body[: len(body) // 2])))
        )
        return
    events = (head, h11.Data(data=body), h11.EndOfMessage())
    line.send(b"".join(http.send(event) or b"" for event in events))
