"""The one place for facts: a method a fact, which counts it, logs it and publishes it.

Who finds something out calls one method here. What a peer can cause is logged within limits (`limits.LogLimit`),
and lifecycle events are made only while somebody follows them.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

import trio

from ..errors import EventDecodeError, InboxUnreachable, wished_retry
from ..events import Event, nearest
from .counters import ConnectFailure, Counters
from .fields import of_connection, of_event, of_ids
from .heartbeat import HeartbeatStats
from .lifecycle import (
    Authenticated,
    Connected,
    Disconnected,
    ErrorOccurred,
    EventAnswered,
    EventDead,
    EventReceived,
    Follower,
    HandlerFailed,
    HandlerStuck,
    HeartbeatReceived,
    Lifecycle,
    MessageIgnored,
    PingReceived,
    PingSent,
    PongReceived,
    ReconnectScheduled,
    TextMessageReceived,
)
from .limits import LogLimit, one_line
from .stacks import in_lines
from .stuck import HeldUp, StuckHandler

__all__ = ["Telemetry"]

_delivery = logging.getLogger("feishu_trio.delivery")
_connection = logging.getLogger("feishu_trio.connection")
_messages = logging.getLogger("feishu_trio.messages")
_heartbeat = logging.getLogger("feishu_trio.heartbeat")
_session = logging.getLogger("feishu_trio.session")
_worker = logging.getLogger("feishu_trio.worker")

# Deliveries after which histograms are brought up to date, less one: what they have gathered takes little memory. Where
# few arrive, as in a worker, it is so many runs of handlers and requests.
_FOLD_EVERY: Final = 0x3FF
_FOLD_AFTER: Final = 4096
_CHARACTERS: Final = 100
_ERROR_CHARACTERS: Final = 400
_MEMBERS: Final = 4  # of a group of exceptions, in words; of handlers, by name

INFO, WARNING, ERROR = logging.INFO, logging.WARNING, logging.ERROR


class Telemetry:
    """What a session or a worker tells of itself. `clock` is trio's, in seconds; `follower` is told of everything."""

    def __init__(
        self, clock: Callable[[], float] = trio.current_time, follower: Follower | None = None
    ) -> None:
        self.counters = Counters()
        self.lifecycle = Lifecycle(follower, on_lost=self.lifecycle_lost, on_error=self.follower_failed)
        self.heartbeat_message_at: float | None = None
        """When the last JSON heartbeat came, on `clock`."""
        self._clock = clock
        self._has_follower_failed = False
        self._limit = LogLimit(clock)
        self.heartbeat = HeartbeatStats(functools.partial(self._limit.log, _heartbeat, WARNING))

    def end(self) -> None:
        """Nothing more happens: lifecycle streams end, and what was kept back of the log is counted there."""
        self.lifecycle.end()
        self._limit.end()

    # Events

    def event_received(self, event: Event[Any], *, known: bool) -> None:
        """A delivery was taken in; `known` if its event had been delivered before."""
        counters = self.counters
        counters.received += 1
        if not counters.received & _FOLD_EVERY:
            counters.fold()
        counters.last_event_at = event._received
        counters.by_type[event.type].received += 1
        if known:
            counters.duplicates += 1
        if self.lifecycle.is_followed:
            self.lifecycle.publish(
                EventReceived(event_id=event.id, event_type=event.type, redelivered=event.redelivered)
            )

    def event_answered(self, event: Event[Any], ok: bool, latency: float) -> None:
        """A delivery was answered, `latency` seconds after it arrived."""
        counters = self.counters
        counters.answered += 1
        counters.latency.add(latency)
        of_type = counters.by_type[event.type]
        of_type.answered += 1
        if not ok:
            of_type.rejected += 1
        of_type.latency.observe(latency)
        if self.lifecycle.is_followed:
            self.lifecycle.publish(
                EventAnswered(event_id=event.id, event_type=event.type, ok=ok, latency=latency)
            )

    def event_late(self, event: Event[Any], after: float, waiting_for: Sequence[str]) -> None:
        """An event is not answered by its deadline; `waiting_for` names the handlers at work."""
        self.counters.late += 1
        self._limit.log(
            _delivery,
            WARNING,
            "event %s (%s) is not answered after %.1f s: %s",
            *_names(event),
            after,
            f"still at work: {', '.join(waiting_for)}" if waiting_for else "its pool is full",
            about=waiting_for[0] if waiting_for else None,
            extra=of_event(event, waiting_for[0] if len(waiting_for) == 1 else ""),
        )

    def event_refused(self, event: Event[Any], reason: str) -> None:
        """An event is not taken in, and is to come again: a pool is full, or the session ends."""
        self.counters.refused += 1
        self._limit.log(
            _delivery,
            INFO,
            "event %s (%s) is refused: %s",
            *_names(event),
            reason,
            about=reason,
            extra=of_event(event),
        )

    def event_unrouted(self, event_type: str) -> None:
        """No handler takes events of this type."""
        self.counters.unhandled += 1
        name = event_type[:_CHARACTERS]
        if self._limit.first("unrouted", name):
            known = nearest(name)
            hint = f"; the nearest known type is {known!r}" if known not in (None, event_type) else ""
            _delivery.warning(
                "no handler takes events of type %r: they are answered and dropped%s",
                name,
                hint,
                extra=of_ids(event_type=event_type),
            )

    def payload_refused(self, error: EventDecodeError, trace_id: str) -> None:
        """A delivery's payload is no event."""
        self.counters.received += 1
        self.counters.bad_frames += 1
        self._limit.log(
            _delivery,
            WARNING,
            "a payload that is no event was refused (trace %s): %s",
            one_line(trace_id),
            one_line(str(error), _ERROR_CHARACTERS),
            extra=of_ids(trace_id=trace_id),
        )
        self._publish_error("payload", error)

    # Handlers

    def handler_ended(self, name: str, event_type: str, pool: str, wait: float, took: float) -> None:
        """A handler has run for `took` seconds, after `wait` seconds since the event arrived."""
        counters = self.counters
        counters.measured += 1
        if counters.measured >= _FOLD_AFTER:
            counters.fold()
        counters.queue_wait.add(wait)
        counters.handler_time.add(took)
        counters.by_pool[pool].wait.observe(wait)
        counters.by_handler[name, event_type].time.observe(took)

    def handler_failed(
        self,
        name: str,
        events: Sequence[Event[Any]],
        error: Exception,
        *,
        is_answered: bool = False,
        is_callback: bool = False,
    ) -> None:
        """A handler raised, or its filter or key function.

        `is_answered` if the events have been answered already; `is_callback` if they never come again.
        """
        first = events[0]
        counter = self.counters.by_handler[name, first.type]
        wish = None if is_callback else wished_retry(error)
        if wish is not None:
            counter.retried += 1
            if is_answered:
                self._limit.log(
                    _delivery,
                    WARNING,
                    "handler %s wants event %s (%s) again, but it was answered on receipt: it is lost",
                    name,
                    *_names(first),
                    about=name,
                    extra=of_event(first, name),
                )
            else:
                self._limit.log(
                    _delivery,
                    INFO,
                    "event %s (%s) is to come again: %s",
                    *_names(first),
                    one_line(_text(wish)) or f"handler {name} asks for it",
                    about=name,
                    extra=of_event(first, name),
                )
            return
        counter.failed += 1
        more = f", the first of a batch of {len(events)}" if len(events) > 1 else ""
        self._limit.log(
            _delivery,
            ERROR,
            "handler %s failed on event %s (%s)%s: %s",
            name,
            *_names(first),
            more,
            described(error),
            about=name,
            # What is to be known of a server that is away stands in the message.
            exc_info=None if isinstance(error, InboxUnreachable) else error,
            extra=of_event(first, name),
        )
        if self.lifecycle.is_followed:
            for event in events:
                self.lifecycle.publish(
                    HandlerFailed(handler=name, event_id=event.id, event_type=event.type, error=error)
                )

    def event_ended(self, failed: bool, retried: bool, stored: bool = False) -> None:
        """All handlers of an event have ended; `stored` if others run for it from an inbox."""
        if failed:
            self.counters.failed += 1
        elif retried:
            self.counters.retried += 1
        elif not stored:
            self.counters.handled += 1

    def result_dropped(self, name: str, event: Event[Any], error: Exception) -> None:
        """What a handler returned has no form in JSON, and nobody waits for it."""
        self._limit.log(
            _delivery,
            WARNING,
            "what handler %s returned for event %s (%s) is not sent: %s",
            name,
            *_names(event),
            error,
            about=name,
            extra=of_event(event, name),
        )

    def answer_without_effect(self, name: str, event: Event[Any], flaw: str) -> None:
        """What a handler returned for a callback is not what its answer may hold."""
        self._limit.log(
            _delivery,
            WARNING,
            "the answer of handler %s to event %s (%s) has no effect: %s",
            name,
            *_names(event),
            flaw,
            about=name,
            extra=of_event(event, name),
        )

    def late_result_lost(self, name: str, event: Event[Any], error: Exception) -> None:
        """What a callback's handler returned after its deadline could not be handed on."""
        self._limit.log(
            _delivery,
            ERROR,
            "the late result of handler %s for event %s (%s) was not used: %s",
            name,
            *_names(event),
            described(error),
            about=name,
            exc_info=error,
            extra=of_event(event, name),
        )
        self._publish_error("late result", error)

    def loop_blocked(self, seconds: float, stack: tuple[str, ...] = ()) -> None:
        """The event loop stood still: something did not let it run. `stack` is where, as far as that is known."""
        self.counters.loop_blocked += 1
        self._limit.log(
            _delivery,
            WARNING,
            "the event loop stood still for %.1f s: something blocked it, a handler perhaps; "
            "plain (not async) handlers run in threads, where they may%s",
            seconds,
            in_lines(stack),
        )

    def handler_stuck(self, stuck: StuckHandler) -> None:
        """A handler has been at work for `stuck_after` seconds."""
        self._limit.log(
            _delivery,
            WARNING,
            "stuck: %s",
            stuck,
            about=stuck.handler,
            extra=of_ids(
                event_id=stuck.event_id,
                event_type=stuck.event_type,
                trace_id=stuck.trace_id,
                handler=stuck.handler,
            ),
        )
        if self.lifecycle.is_followed:
            self.lifecycle.publish(HandlerStuck(stuck=stuck))

    def key_held_up(self, held_up: HeldUp) -> None:
        """An event has waited for `stuck_after` seconds behind a handler of its order key."""
        self._limit.log(
            _delivery,
            WARNING,
            "held up: %s",
            held_up,
            about=held_up.handler,
            extra=of_ids(event_id=held_up.event_id, handler=held_up.handler),
        )

    def pool_missing(self, handler: str, pool: str) -> None:
        """A handler that was added later names a pool that there is not."""
        if self._limit.first("pool", pool):
            _delivery.error(
                "handler %s: there is no pool %r, so it runs in the default one; name it in pools= of the session",
                handler,
                pool,
                extra=of_ids(handler=handler),
            )

    # Stored events

    def events_stored(self, count: int) -> None:
        """So many events were stored."""
        self.counters.stored += count

    def event_parked(self, event_type: str) -> None:
        """A stored event waits for a process that has a route for its type."""
        name = event_type[:_CHARACTERS]
        if self._limit.first("parked", name):
            _delivery.warning(
                "no durable handler takes stored events of type %r: they wait for one",
                name,
                extra=of_ids(event_type=event_type),
            )

    def attempt_failed(
        self, event_id: str, event_type: str, attempt: int, most: int, delay: float, trace_id: str = ""
    ) -> None:
        """A handler of a stored event failed; the event runs again in `delay` seconds."""
        self._limit.log(
            _delivery,
            INFO,
            "event %s (%s): attempt %d of %d failed; again in %.1f s",
            one_line(event_id),
            one_line(event_type),
            attempt,
            most,
            delay,
            about=event_type[:_CHARACTERS],
            extra=of_ids(event_id=event_id, event_type=event_type, trace_id=trace_id),
        )

    def result_refused(self, event_id: str, event_type: str, trace_id: str = "") -> None:
        """A result of a stored event came too late: the event was taken over meanwhile, or ended."""
        self.counters.late_results += 1
        self._limit.log(
            _delivery,
            WARNING,
            "a result of event %s (%s) came late, and is refused: it was taken over, or ended",
            one_line(event_id),
            one_line(event_type),
            about=event_type[:_CHARACTERS],
            extra=of_ids(event_id=event_id, event_type=event_type, trace_id=trace_id),
        )

    def events_cancelled(self, count: int) -> None:
        """Stored events were ended as if they had been handled."""
        self.counters.handled += count

    def event_dead(self, event_id: str, event_type: str, error: str, trace_id: str = "") -> None:
        """A stored event has become a dead letter."""
        self.counters.dead += 1
        self._limit.log(
            _delivery,
            ERROR,
            "event %s (%s) is a dead letter: %s",
            one_line(event_id),
            one_line(event_type),
            one_line(error, _ERROR_CHARACTERS),
            about=event_type[:_CHARACTERS],
            extra=of_ids(event_id=event_id, event_type=event_type, trace_id=trace_id),
        )
        if self.lifecycle.is_followed:
            self.lifecycle.publish(EventDead(event_id=event_id, event_type=event_type, error=error))

    def message_ignored(self, event: Event[Any], reason: str) -> None:
        """A filter turned a message away, as it is not for the bot."""
        if _delivery.isEnabledFor(logging.DEBUG):
            self._limit.log(
                _delivery,
                logging.DEBUG,
                "message %s is ignored: %s",
                one_line(event.id),
                reason,
                extra=of_event(event),
            )
        if self.lifecycle.is_followed:
            self.lifecycle.publish(MessageIgnored(event_id=event.id, reason=reason))

    def inbox_failed(self, error: Exception) -> None:
        """An inbox could not be read; it is tried again."""
        self._limit.log(_delivery, ERROR, "%s", one_line(str(error), _ERROR_CHARACTERS))
        self._publish_error("inbox", error)

    def dead_handler_failed(self, name: str, event: Event[Any], error: Exception) -> None:
        """A handler of dead letters raised."""
        self._limit.log(
            _delivery,
            ERROR,
            "handler %s of dead letters failed: %s",
            name,
            described(error),
            about=name,
            exc_info=error,
            extra=of_event(event, name),
        )

    # Connections

    def connected(self, connection_id: str, host: str, service_id: int, attempt: int) -> None:
        """A connection is up."""
        self._limit.log(
            _connection,
            INFO,
            "connected: connection %s to %s",
            connection_id,
            host,
            extra=of_connection(connection_id),
        )
        if self.lifecycle.is_followed:
            self.lifecycle.publish(
                Connected(connection_id=connection_id, service_id=service_id, attempt=attempt)
            )

    def disconnected(
        self, connection_id: str, reason: str, detail: str, code: int | None, lived: float
    ) -> None:
        """A connection has ended, `lived` seconds after it came up."""
        self.counters.disconnects[reason].count += 1
        with_code = f" with code {code}" if code is not None else ""
        in_detail = f" ({detail})" if detail else ""
        self._limit.log(
            _connection,
            INFO,
            "connection %s ended after %.1f s: %s%s%s",
            connection_id,
            lived,
            reason,
            with_code,
            in_detail,
            extra=of_connection(connection_id),
        )
        if self.lifecycle.is_followed:
            self.lifecycle.publish(
                Disconnected(
                    connection_id=connection_id, reason=reason, detail=detail, code=code, lived=lived
                )
            )

    def connection_failed(self, host: str, error: Exception) -> None:
        """A connection, or a try, ended by what nobody meant to raise: here, below, or in a function of the user's."""
        self._limit.log(
            _connection,
            ERROR,
            "the connection to %s failed by a defect: %s",
            host,
            described(error),
            exc_info=error,
        )
        self._publish_error("connection", error)

    def reconnect_scheduled(self, attempt: int, delay: float, error: Exception) -> None:
        """The next try to connect comes in `delay` seconds."""
        self._limit.log(_connection, WARNING, "%s; the next try is in %.1f s", error, delay)
        if self.lifecycle.is_followed:
            self.lifecycle.publish(ReconnectScheduled(attempt=attempt, delay=delay, reason=str(error)))

    def connect_failed(self, error: Exception) -> None:
        """A try to connect failed. What comes of it is logged: another try, or the error that ends the session."""
        self.counters.connect_failures[ConnectFailure.of(error)].count += 1
        self._publish_error("connect", error)

    def reconnected(self) -> None:
        """A connection was made again."""
        self.counters.reconnects += 1

    def connection_given_up(self, left: int, error: Exception) -> None:
        """One connection of several is not tried again; the session goes on with the others."""
        _session.error("the session goes on with %d connections at the most: %s", left, error)
        self._publish_error("connection", error)

    def machine_slept(self, connection_id: str) -> None:
        """The wall clock ran ahead of the monotonic one."""
        self._limit.log(
            _connection,
            INFO,
            "the machine seems to have slept: connection %s is probed",
            connection_id,
            extra=of_connection(connection_id),
        )

    def ping_sent(self, connection_id: str, *, probe: bool) -> None:
        """A ping went out."""
        if self.lifecycle.is_followed:
            self.lifecycle.publish(PingSent(connection_id=connection_id, probe=probe))

    def pong_received(
        self, connection_id: str, rtt: float | None, interval: float | None, intended: float
    ) -> None:
        """A pong came, `rtt` seconds after its ping (None if none was waited for); see `HeartbeatSeries.record`."""
        if rtt is not None:
            self.heartbeat.record(interval, intended=intended, rtt=rtt)
        if self.lifecycle.is_followed:
            self.lifecycle.publish(PongReceived(connection_id=connection_id, rtt=rtt))

    def server_config_wrong(self, message: str, *arguments: object) -> None:
        """The server asks for something that cannot be; the warning says what is used instead."""
        self._limit.log(_connection, WARNING, message, *arguments)

    def answers_dropped(self, most: int) -> None:
        """More answers wait for a connection than are kept; their events come again."""
        self._limit.log(
            _connection, WARNING, "more than %d answers wait for a connection: the oldest are dropped", most
        )

    def frame_dropped(self, connection_id: str, error: Exception) -> None:
        """A binary message was no frame, or one that cannot be true."""
        self._dropped(_connection, connection_id, "frame", error)

    def frame_ignored(self, connection_id: str, kind: str) -> None:
        """A frame came that nothing here is made for."""
        self.counters.ignored += 1
        self._limit.log(
            _connection,
            INFO,
            "connection %s: a frame of type %.100r is ignored",
            connection_id,
            kind,
            extra=of_connection(connection_id),
        )

    # JSON text messages

    def text_received(self, connection_id: str, message_type: str) -> None:
        """A JSON text message came."""
        if self.lifecycle.is_followed:
            self.lifecycle.publish(
                TextMessageReceived(connection_id=connection_id, message_type=message_type)
            )

    def text_dropped(self, connection_id: str, error: Exception) -> None:
        """A text message makes no sense."""
        self._dropped(_messages, connection_id, "message", error)

    def text_ping_answered(self, connection_id: str) -> None:
        """A JSON ping was answered."""
        if self.lifecycle.is_followed:
            self.lifecycle.publish(PingReceived(connection_id=connection_id))

    def text_pong_received(self, connection_id: str) -> None:
        """A JSON pong came. It answers no ping of ours: there is no round trip, and no interval of ours."""
        self.heartbeat.record(None)
        if self.lifecycle.is_followed:
            self.lifecycle.publish(PongReceived(connection_id=connection_id, rtt=None))

    def text_heartbeat_received(
        self,
        connection_id: str,
        since_last: float | None,
        timestamp: float | None,
        interval: float | None,
        status: str | None,
    ) -> None:
        """A JSON heartbeat came, `since_last` seconds after the one before it; the rest is what it says."""
        self.heartbeat_message_at = self._clock()
        self.heartbeat.messages.record(since_last)
        if self.lifecycle.is_followed:
            self.lifecycle.publish(
                HeartbeatReceived(
                    connection_id=connection_id, timestamp=timestamp, interval=interval, status=status
                )
            )

    def authenticated(self, connection_id: str) -> None:
        """The server accepted the app access token."""
        self._limit.log(
            _messages,
            INFO,
            "connection %s: the app access token was accepted",
            connection_id,
            extra=of_connection(connection_id),
        )
        if self.lifecycle.is_followed:
            self.lifecycle.publish(Authenticated(connection_id=connection_id))

    def authentication_failed(self, error: Exception) -> None:
        """The server refused the app access token, which ends the session with this error."""
        self._publish_error("authentication", error)

    def text_unhandled(self, message_type: str) -> None:
        """No handler takes messages of this type, nor is it known here."""
        name = message_type[:_CHARACTERS]
        if self._limit.first("message", name):
            _messages.warning("no handler takes messages of type %r: they are dropped", name)

    def raw_handler_failed(self, handler: str, error: Exception) -> None:
        """A handler of raw messages raised."""
        self._limit.log(
            _messages,
            ERROR,
            "handler %s failed on a raw message: %s",
            handler,
            described(error),
            about=handler,
            exc_info=error,
            extra=of_ids(handler=handler),
        )
        self._publish_error("raw message", error)

    def text_handler_failed(self, handler: str, message_type: str, error: Exception) -> None:
        """A handler of text messages raised."""
        self._limit.log(
            _messages,
            ERROR,
            "handler %s failed on a message of type %.100r: %s",
            handler,
            message_type,
            described(error),
            about=handler,
            exc_info=error,
            extra=of_ids(handler=handler),
        )
        self._publish_error("message", error)

    def text_refused(self, handler: str, message_type: str) -> None:
        """There was no room for a handler's run, and a text message does not come again."""
        self.counters.dropped_messages += 1
        self._limit.log(
            _messages,
            WARNING,
            "there is no room for handler %s: it does not get a message of type %.100r",
            handler,
            message_type,
            about=handler,
            extra=of_ids(handler=handler),
        )

    # Workers

    def worker_began(self, inbox: str, handlers: Sequence[str]) -> None:
        """A worker is at work for an inbox, with these handlers."""
        self._limit.log(_worker, INFO, "working: %s for %s", _listed(handlers) or "no handler so far", inbox)

    def worker_ended(self, lived: float) -> None:
        """A worker has ended, after so many seconds."""
        self._limit.log(_worker, INFO, "the worker ended after %.1f s", lived)

    # The end

    def drain_lasts(self, events: int, handlers: Sequence[str], timeout: float) -> None:
        """A session or worker ends, and still waits for so many events, at which these handlers are at work."""
        self._limit.log(
            _session,
            INFO,
            "closing: %s within %g s (at work: %s)",
            "1 event may end" if events == 1 else f"{events} events may end",
            timeout,
            _listed(handlers) or "none",
        )

    def drain_cut(self, events: int, handlers: Sequence[str], timeout: float) -> None:
        """Their time is over: these handlers are cancelled."""
        self._limit.log(
            _session,
            WARNING,
            "%s not ended within shutdown_timeout, %g s: what is at work is cancelled (%s)",
            "1 event has" if events == 1 else f"{events} events have",
            timeout,
            _listed(handlers) or "nothing",
        )

    # Calls to Feishu

    def request_ended(self, code: str, took: float) -> None:
        """A request to Feishu's HTTP API took so many seconds; `code` as in `SessionStats.api_requests`."""
        counters = self.counters
        counters.measured += 1
        if counters.measured >= _FOLD_AFTER:
            counters.fold()
        counters.api_requests[code].count += 1
        counters.api_time.observe(took)

    # Who is told of all this

    def lifecycle_lost(self) -> None:
        """The channel `on_lifecycle` had no room for an event."""
        self.counters.lost_lifecycle += 1
        self._limit.log(
            _session,
            WARNING,
            "the channel on_lifecycle is full: an event is lost (%d so far); read it faster, or give it more room",
            self.counters.lost_lifecycle,
        )

    def follower_failed(self, error: Exception) -> None:
        """The function `on_lifecycle` raised. It is called for all that follows, too."""
        if not self._has_follower_failed:
            self._has_follower_failed = True
            _session.error(
                "on_lifecycle raised, which is logged this once: %s", described(error), exc_info=error
            )

    # Inside

    def _dropped(self, logger: logging.Logger, connection_id: str, what: str, error: Exception) -> None:
        self.counters.bad_frames += 1
        self._limit.log(
            logger,
            WARNING,
            f"connection %s: bad {what} dropped (%d so far): %s",
            connection_id,
            self.counters.bad_frames,
            one_line(str(error), _ERROR_CHARACTERS),
            extra=of_connection(connection_id),
        )
        self._publish_error(what, error)

    def _publish_error(self, where: str, error: BaseException) -> None:
        if self.lifecycle.is_followed:
            self.lifecycle.publish(ErrorOccurred(where=where, error=error))


def _names(event: Event[Any]) -> tuple[str, str]:
    return one_line(event.id), one_line(event.type)


def _listed(handlers: Sequence[str]) -> str:
    """The first of these names, and how many more there are."""
    more = f" and {len(handlers) - _MEMBERS} more" if len(handlers) > _MEMBERS else ""
    return ", ".join(handlers[:_MEMBERS]) + more


def described(error: BaseException) -> str:
    """An exception's class and text, on one line; of a group its first members, too, which say more than its text."""
    text = " ".join(_text(error).split())
    words = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if not isinstance(error, BaseExceptionGroup):
        return words
    members = list(islice(_members(error), _MEMBERS + 1))
    told = "; ".join(described(each) for each in members[:_MEMBERS])
    return f"{words}: {told}{'; …' if len(members) > _MEMBERS else ''}"


def _members(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    """The exceptions in a group of groups that are no groups; however deep they are."""
    left: list[BaseException] = [group]
    while left:
        error = left.pop()
        if isinstance(error, BaseExceptionGroup):
            left.extend(reversed(error.exceptions))
        else:
            yield error


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # a user's own error, whose text is as broken as the handler
        return ""
