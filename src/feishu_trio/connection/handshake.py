"""The WebSocket handshake, and what it means when the server does not agree to it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import h11
import trio
from trio_websocket import ConnectionRejected, WebSocketConnection, wrap_client_stream
from wsproto.utilities import ProtocolError

from ..config import SessionConfig
from ..config.secrets import masked
from ..errors import ConnectError, FeishuError
from .discovery import Endpoint, refusal, shown
from .headers import handshake_headers
from .line import Line

__all__ = ["NO_WEBSOCKET", "handshake_error", "shake_hands"]

NO_WEBSOCKET: Final = (ProtocolError, h11.ProtocolError, UnicodeError)
"""What trio-websocket's reader raises in its nursery for what it does not expect of a peer."""

# Messages that the WebSocket layer may have read ahead.
_READ_AHEAD: Final = 64


async def shake_hands(
    nursery: trio.Nursery, line: Line, endpoint: Endpoint, config: SessionConfig
) -> WebSocketConnection:
    """Open a WebSocket whose reader lives in `nursery`. The caller sets the deadline.

    Raises:
        ConnectError, RefusedError: The server ended the stream instead. Other failures come out of `nursery`,
            for `handshake_error` to tell what they mean.
    """
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    # trio-websocket waits for ever if the stream ends before the handshake does.
    with trio.CancelScope() as scope:
        line.end.on_fault = scope.cancel
        websocket = await wrap_client_stream(
            nursery,
            line,  # type: ignore[arg-type]  # typed for two kinds of stream, asks only for a Stream
            host if endpoint.port in (80, 443) else f"{host}:{endpoint.port}",
            endpoint.resource,
            extra_headers=handshake_headers(config),
            message_queue_size=_READ_AHEAD,
            max_message_size=config.max_message_size,
            receive_buffer_size=config.receive_buffer_size,
        )
    line.end.on_fault = None
    if scope.cancelled_caught and line.end.fault is not None:
        raise _ended(endpoint, line.end.fault, line.reader.refusal)
    if not line.reader.has_agreed:
        # Two who read would both read the socket.
        raise ConnectError(f"{endpoint.host} does not speak WebSocket: where frames begin is not known")
    return websocket


def handshake_error(endpoint: Endpoint, error: BaseException | None) -> FeishuError | None:
    """What came out of the nursery while hands were shaken, as one of this package's own; None if it is none."""
    if isinstance(error, ConnectionRejected):
        return _refused(endpoint, error.status_code, error.headers)
    if isinstance(error, NO_WEBSOCKET):
        return ConnectError(
            f"{endpoint.host} does not speak WebSocket: {shown(masked(error, *endpoint.secrets))}"
        )
    return None


def _refused(endpoint: Endpoint, status_code: int, headers: Iterable[tuple[bytes, bytes]]) -> FeishuError:
    given = {bytes(name).lower(): bytes(value) for name, value in headers}
    status = _number(given.get(b"handshake-status"))
    if status is None:
        return ConnectError(
            f"{endpoint.host} answered the WebSocket handshake with HTTP status {status_code}"
        )
    message = given.get(b"handshake-msg", b"").decode("utf-8", "replace")
    message = masked(message, *endpoint.secrets)
    return refusal(status, message, handshake=True, auth_code=_number(given.get(b"handshake-autherrcode")))


def _ended(endpoint: Endpoint, fault: tuple[str, str], refusal: h11.Response | None) -> FeishuError:
    """The stream ended. A response whose body ends with it, or never, is a refusal all the same."""
    if refusal is not None:
        return _refused(endpoint, refusal.status_code, refusal.headers)
    reason, detail = fault[0], masked(fault[1], *endpoint.secrets)
    return ConnectError(
        f"{endpoint.host} ended the WebSocket handshake: {reason}" + (f": {detail}" if detail else "")
    )


def _number(value: bytes | None) -> int | None:
    try:
        return int(value) if value is not None else None
    except ValueError:
        return None
