"""An inbox in Redis or Valkey, which any number of processes share."""

from __future__ import annotations

import heapq
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Final, Literal, TypeVar, Unpack

import msgspec
import trio

from ..config.rules import Rule, choice, is_text, masked_url, number
from ..delivery import EVENT_KEY
from ..errors import ConfigError, InboxError, first_error
from .protocol import (
    LARGEST_NOTE,
    NO_ROUTE,
    PARKED_FOR,
    SEEN_AT_MOST,
    TOO_OLD,
    Inbox,
    InboxRules,
    RuleArguments,
)
from .records import (
    Cancelled,
    Claim,
    Counts,
    Details,
    Entry,
    State,
    Stored,
    Summary,
    forgettable,
    known_state,
)
from .redis_lease import Lease
from .redis_pump import Pump
from .redis_replies import (
    Claimed,
    Opened,
    Renewed,
    Status,
    encode_body,
    encode_event,
    optional,
    read_cancelled,
    read_claimed,
    read_counts,
    read_details,
    read_facts,
    read_listed,
    read_number,
    read_numbers,
    read_opened,
    read_renewed,
    read_requeued,
    read_scanned,
    read_stored,
    read_summaries,
    read_untold,
)
from .redis_scripts import (
    CLAIM,
    LOOK,
    MEND,
    SETTLE,
    STORE,
    TEND,
    VERSION,
    Script,
    bool_of,
    digest,
    encode,
    group,
    reading,
    string,
)
from .redis_server import Link, LinkError, Refusal, Server, read_url, server_url
from .redis_tickets import Tickets

__all__ = ["RedisInbox"]

logger = logging.getLogger("feishu_trio.inbox")

T = TypeVar("T")

_TEND: Final = 1.0  # seconds between two renewals of the lease; a third of it, if that is shorter
_SWEEP: Final = 30.0  # seconds between two looks at what is to be forgotten
_CLOSE: Final = 5.0  # seconds for what is left to be written at the end
_STEP: Final = 500  # events that one call goes through
_FORGOTTEN: Final = 50  # events that one call forgets, day and night: some 10 µs of the server's each, for which all others wait
_GROUP: Final = 256  # events that one step stores
_TYPES: Final = 1000  # more event types than that are looked through now and then: most have gone by
_LARGEST_NUMBER: Final = (1 << 53) - 1  # that Lua tells from its neighbours
_OF_VISITORS: Final = (LOOK, MEND, TEND)  # what looks and mends, and neither stores nor claims
_DEFAULT_PREFIX: Final = "feishu"
_SETTLED: Final = (State.DONE, State.DEAD, State.PARKED)

_PREFIX: Final = Rule(
    "1 to 100 printable ASCII characters, without white space and braces",
    lambda value: is_text(r"[!-z|~]{1,100}")(value),
)
_LEASE: Final = number(float, 1, 3600, unit="seconds")
_DURABILITY: Final = choice("memory", "disk")


class RedisInbox(Inbox):
    """Keeps events in Redis (7.0 or newer) or Valkey: any number of sessions and workers on any machines share them.

    What was answered 200 is as safe as that server makes it; see `durability`. Each process renews a lease on what it has
    claimed. What one that died had claimed is taken over once its lease has ended, and what one that cannot reach the
    server had claimed is cancelled there by then.

    Args:
        url: `redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]` (of a cluster, any node), `rediss://` for TLS, or
            `redis+sentinel://[USER:PASSWORD@]HOST[:PORT],HOST[:PORT]/SERVICE[/DATABASE]`: the server that Sentinels know
            by this name. After a `?` may stand `prefix=PREFIX`, and for Sentinels that want a password of their own
            `sentinel_password=PASSWORD`, with `&sentinel_user=USER` before or after it, or without.
        prefix: What all keys of this inbox begin with, in braces: an inbox of another app has another prefix. None: that
            of the URL, or else `feishu`.
        lease: Seconds after which others take over what a process had claimed that does not speak any more.
        durability: `"memory"`: as the server is set up. `"disk"`: the server must write to its disk before it answers
            (`appendonly yes`, `appendfsync always`, `no-appendfsync-on-rewrite no`), or it is refused.
        rules: What every inbox is told: fields of `InboxRules` by name.

    Raises:
        ConfigError: An argument is wrong.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str | None = None,
        lease: float = 30,
        durability: Literal["memory", "disk"] = "memory",
        **rules: Unpack[RuleArguments],
    ) -> None:
        self.rules = InboxRules(**rules)
        """What it was told."""
        server_url().check("url", url)
        address = read_url(url)
        prefix = prefix if prefix is not None else address.prefix or _DEFAULT_PREFIX
        _PREFIX.check("prefix", prefix)
        _LEASE.check("lease", lease)
        _DURABILITY.check("durability", durability)
        self._name = f"RedisInbox({masked_url(url)}, prefix={prefix!r})"
        self._key = f"{{{prefix}}}"
        self._server = Server(address, self._key.encode(), is_on_disk=durability == "disk")
        self._seconds = lease
        self._reset()

    def _reset(self) -> None:
        """Nothing is known yet of what the server has."""
        self.types = frozenset()
        self.parked_types = frozenset()
        self.suspect_is_ready = self.has_untold = False
        self._app_id = ""
        self._window = 0.0
        self._is_open = False
        self._is_visited = False
        self._version = 0  # of the types
        self._reserved: Claim | None = None  # what must run alone, and waits here for that
        self._is_reserving = False
        self._kept: set[int] = set()  # numbers of events whose handlers go on in threads
        self._takes_over_at = 0.0  # on trio's clock: dead processes' claims are left alone before that
        self._dead = trio.lowlevel.ParkingLot()
        self._lease = Lease(self._seconds, self._name, self._have_lost)
        self._tickets = Tickets(f"{self._key}:", self._end_waiting, self._give_ticket)
        self._pump = Pump(
            self._server,
            self._name,
            enter=self._enter,
            readied=self._tickets.readied,
            lists=lambda: self._tickets.lists(self._lease.owner),
            ticket=self._tickets.arrived,
        )

    def __repr__(self) -> str:
        return self._name

    @property
    def fault(self) -> Exception | None:  # type: ignore[override]
        """Why the server cannot be written to, or reached, at the moment; None if all is well."""
        return self._pump.fault

    @property
    def owes(self) -> bool:  # type: ignore[override]
        """Whether results could not be written down yet."""
        return self._pump.owes

    # Serving

    async def serve(
        self,
        app_id: str,
        window: float,
        *,
        tries: int | None = None,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """See `Inbox`. A server that is away is waited for; one that cannot keep an inbox raises."""
        failure: BaseException | None = None
        pumping = trio.CancelScope()

        async def pump(*, task_status: trio.TaskStatus[None]) -> None:
            with pumping:
                await self._pump.run(tries, task_status=task_status)

        with self._serving():
            self._app_id, self._window = app_id, self.rules.window or window
            try:
                async with trio.open_nursery() as nursery:
                    await nursery.start(pump)
                    pumping.shield = True  # it ends after all that is to be written
                    self._is_open = True
                    try:
                        async with trio.open_nursery() as tending:
                            tending.start_soon(self._lease.watch)
                            tending.start_soon(self._every, min(_TEND, self._seconds / 3), self._renew)
                            tending.start_soon(self._every, _SWEEP, self._sweep)
                            task_status.started()
                    finally:
                        with trio.move_on_after(_CLOSE, shield=True):
                            await self._close()
                        self._is_open = False
                        pumping.cancel()
            except BaseExceptionGroup as group:
                failure = first_error(group)  # raised below, as itself
                if failure is None:
                    raise
            finally:
                self._reset()
        if failure is not None:
            raise failure

    @asynccontextmanager
    async def visit(self) -> AsyncGenerator[RedisInbox, None]:
        """Within it `counts`, `list`, `show`, `requeue` and `purge` work, while others serve the inbox or none does.

        Nothing is stored or claimed, and nothing is changed but what is asked for. A server that is away is not waited for;
        one that goes away later is, for 2 s at a time.

        Raises:
            InboxUnreachable: The server does not answer.
            InboxError: It cannot keep an inbox, or has none under this prefix.
        """
        failure: BaseException | None = None
        with self._serving():
            self._is_visited = True
            try:
                async with trio.open_nursery() as nursery:
                    try:
                        await nursery.start(self._pump.run, 0)
                        yield self
                    except BaseException as error:
                        failure = error  # raised below, so that the nursery does not wrap it in a group
                    finally:
                        nursery.cancel_scope.cancel()
            except BaseExceptionGroup as group:
                failure = first_error(group) or failure or group
            finally:
                self._reset()
        if failure is not None:
            raise failure

    async def _close(self) -> None:
        """Whoever handled events has ended: what was claimed and not settled was cut off."""
        try:
            await self._pump.drain()
            if not self.owes:
                await self._pump.ask(TEND, ("close", self._lease.owner, list(self._kept)), bool_of)
                return
            error: object = self.fault
        except InboxError as raised:
            error = raised
        logger.error(
            "%r is closed without its server, and %d results are not written: what was claimed runs again once the lease "
            "has ended (%s)",
            self,
            self._pump.owed,
            error,
        )

    async def _enter(self, link: Link) -> None:
        """Be known to the server over a new link; who only visits it is not."""
        if self._is_visited:
            await self._look_in(link)
            return
        lease = self._lease
        while True:
            asked_at, was_over, name = trio.current_time(), lease.is_over, lease.new_name()
            (reply,) = await link.run([(TEND, group([encode(self._opening(name))]))])
            if isinstance(reply, Refusal):
                raise LinkError(str(reply))
            lease.check()
            if lease.is_over == was_over:
                break
            # It has ended meanwhile: what the server has given to this name is nobody's here any more.
        self._opened(read_opened(reading(reply).replies[0]), name, asked_at)

    def _opening(self, name: str) -> tuple[Any, ...]:
        lease = self._lease
        return (
            "open",
            {
                "owner": name,
                "was": lease.names[:-1],
                "held": list(lease.held),
                "is_crash": lease.is_over,
                "lease": lease.seconds,
                "app": self._app_id,
                "keys": VERSION,
                "version": self._version,
            },
        )

    async def _look_in(self, link: Link) -> None:
        """Find out whether there is an inbox."""
        (reply,) = await link.run([(LOOK, group([encode(("facts",))]))])
        if isinstance(reply, Refusal):
            raise LinkError(str(reply))
        version, _ = read_facts(reading(reply).replies[0])
        if not version:
            raise InboxError(
                f"{self!r}: there is no inbox yet; if its bot has another prefix, give that: "
                "?prefix=PREFIX after the URL"
            )
        self._check_version(version)

    def _check_version(self, version: int) -> None:
        if version < 0:
            raise InboxError(
                f"{self!r}: the key {self._key} is another program's; give another prefix: ?prefix=PREFIX after the URL"
            )
        if version != VERSION:
            raise InboxError(
                f"{self!r} was made by another version of feishu_trio: its keys are of version {version}, "
                f"and this one knows {VERSION}; give another prefix"
            )

    def _opened(self, opened: Opened, name: str, asked_at: float) -> None:
        self._check_version(opened.version)
        if opened.app_id != self._app_id:
            raise ConfigError(
                f"{self!r} has the events of the app {opened.app_id}, and this is {self._app_id}: give another prefix"
            )
        if self._lease.owner:
            # Others may have been away as well: their results come before what they had claimed is taken over.
            self._takes_over_at = trio.current_time() + self._lease.seconds / 3
            if opened.is_new:
                logger.error("all that %r had kept is gone from the server", self)
        self._lease.begin(name, asked_at)
        self._lose(opened.lost)
        status = optional(opened.status)
        if status is not None:
            self._look_at(status)
        self._tickets.changed()

    async def _every(self, seconds: float, do: Callable[[], Awaitable[None]]) -> None:
        while True:
            await trio.sleep(seconds)
            with suppress(InboxError):  # there is no link, as `fault` says
                await do()

    async def _renew(self) -> None:
        """Renew the lease, and find out what there is to do."""
        asked_at = trio.current_time()
        lease = self._lease
        if lease.is_over:
            name = lease.new_name()
            opened = await self._pump.ask(TEND, self._opening(name), read_opened, is_first=True)
            if name == lease.names[-1]:  # else there is another link since
                self._opened(opened, name, asked_at)
            return
        ask = {
            "owner": lease.owner,
            "held": list(lease.held),
            "lease": lease.seconds,
            "reaps": asked_at >= self._takes_over_at,
            "version": self._version,
        }
        read = partial(self._read_renewed, lease.owner)
        renewed = await self._pump.ask(TEND, ("tend", ask), read, is_first=True)
        if ask["owner"] != lease.owner:
            return  # there is another link since
        if renewed is None:
            lease.end()
            return
        lease.renewed(asked_at)
        self._lose(renewed.lost)

    def _read_renewed(self, owner: str, raw: msgspec.Raw) -> Renewed | None:
        """What is stored in the same group is stored after it: its types come after these, too."""
        renewed = read_renewed(raw)
        if renewed is not None and owner == self._lease.owner:
            self._look_at(renewed.status)
        return renewed

    async def _sweep(self) -> None:
        """Forget what is to be forgotten, step by step: what is asked meanwhile comes between."""
        ask = self._pump.ask
        while await ask(TEND, ("purge", State.DONE, self._window, _FORGOTTEN), read_number) == _FORGOTTEN:
            pass
        while await ask(TEND, ("bury_parked", PARKED_FOR, NO_ROUTE, _STEP), read_number) == _STEP:
            pass
        await ask(TEND, ("forget_types", _TYPES), read_number)

    def _look_at(self, status: Status) -> None:
        """Take in what there is to do."""
        parked, types = frozenset(status.parked_types), optional(status.types)
        if parked != self.parked_types or types is not None:
            self.parked_types = parked
            self._tickets.changed()
        if types is not None:
            self._version, self.types = status.version, frozenset(types)
        if status.has_suspect and self._reserved is None:
            self._tickets.changed()
        self._tickets.due_in(optional(status.due_in))
        self._tell(status.has_untold)

    def _tell(self, has_untold: bool) -> None:
        self.has_untold = has_untold
        if has_untold:
            self._dead.unpark_all()

    def _lose(self, numbers: Iterable[int]) -> None:
        self._lease.lose(numbers)
        self._keep_reserved()

    def _have_lost(self, numbers: Collection[int]) -> None:
        if self.on_lost is not None:
            self.on_lost(numbers)

    def _end_waiting(self) -> None:
        self._pump.note(SETTLE, ("wake", self._lease.owner), bool_of)

    def _give_ticket(self, kind: str) -> None:
        self._pump.note(SETTLE, ("give_ticket", kind), bool_of)

    # Storing

    async def store(self, entries: Sequence[Entry]) -> list[Stored]:
        """See `Inbox`."""
        stored: list[Stored] = []
        for first in range(0, len(entries), _GROUP):
            some = entries[first : first + _GROUP]
            try:
                step = ("store", self._window, [_entry(each) for each in some])
            except UnicodeEncodeError as error:
                raise InboxError(f"{self!r}: {error}") from error
            stored += await self._ask(STORE, step, read_stored)
            types = {each.type for each in some}
            if not types.issubset(self.types):
                self.types = types.union(self.types)
                self._tickets.changed()  # nobody here has waited for these
        return stored

    def seen(self, keys: Collection[str]) -> None:
        """See `Inbox`."""
        if self.fault is None and self._pump.owed < SEEN_AT_MOST:
            self._pump.note(SETTLE, ("seen", self._window, _digests(keys)), bool_of)

    # Claiming

    async def claim(
        self,
        limit: int,
        types: Collection[str] | None = None,
        *,
        alone: bool = False,
        in_order: bool = True,
        to_park: bool = False,
    ) -> list[Claim]:
        """See `Inbox`."""
        if alone and self._reserved is not None:
            return await self._claim_reserved()
        if self._tickets.are_none(self.types if types is None else types) and types is not None and not alone:
            await trio.lowlevel.checkpoint()
            return []
        step = self._claiming(
            limit, types=types, alone=alone, in_order=in_order, gathers=not in_order, to_park=to_park
        )
        claimed = await self._ask(CLAIM, step, self._read_claimed, self._give_back)
        if claimed is None:
            self._tickets.changed()  # there is another link since
            return []
        self._tickets.claimed(self.types if types is None else types, is_all=claimed.is_all)
        if claimed.status.has_suspect and not alone:
            self._reserve()
        # What was lost meanwhile is nobody's here.
        return [claim for claim in claimed.claims if self._lease.owns(claim)]

    def _claiming(
        self,
        limit: int,
        *,
        types: Collection[str] | None = None,
        alone: bool = False,
        in_order: bool = True,
        gathers: bool = False,
        to_park: bool = False,
    ) -> tuple[Any, ...]:
        ask = {
            "owner": self._lease.owner,
            "limit": limit,
            "alone": alone,
            "in_order": in_order,
            "gathers": gathers,
            "parks": to_park,
            "version": self._version,
        }
        if types is not None:
            ask["kinds"] = list(types)
        if self.rules.max_age is not None:
            ask["max_age"] = self.rules.max_age
            ask["too_old"] = TOO_OLD.format(self.rules.max_age)
        return ("claim", ask)

    def _read_claimed(self, raw: msgspec.Raw) -> Claimed | None:
        claimed = read_claimed(raw)
        if claimed is None:
            return None
        self._lease.check()
        if self._lease.is_over:  # it came to a process that was paused
            for claim in claimed.claims:
                self._pump.note(SETTLE, ("release", str(claim.number), claim.token), bool_of)
            return None
        self._lease.held.update((claim.number, claim) for claim in claimed.claims)
        self._look_at(claimed.status)
        return claimed

    def _give_back(self, claimed: Claimed | None) -> None:
        """Whoever claimed was cancelled: nobody runs what was claimed."""
        for claim in claimed.claims if claimed is not None else ():
            self.release(claim)

    # What must run alone is claimed when it is found, so that one process waits for its handlers to end, and no other.

    def _reserve(self) -> None:
        if self._reserved is None and not self._is_reserving:
            self._is_reserving = True
            step = self._claiming(1, alone=True, gathers=True)
            self._pump.note(CLAIM, step, self._read_claimed, self._has_reserved)

    def _has_reserved(self, claimed: Claimed | None) -> None:
        self._is_reserving = False
        for claim in claimed.claims if claimed is not None else ():
            self._reserved, self.suspect_is_ready = claim, True
        self._tickets.changed()

    def _keep_reserved(self) -> None:
        """Keep what must run alone, if it is claimed still."""
        if self._reserved is not None and not self._lease.owns(self._reserved):
            self._reserved, self.suspect_is_ready = None, False

    async def _claim_reserved(self) -> list[Claim]:
        claim, self._reserved, self.suspect_is_ready = self._reserved, None, False
        assert claim is not None
        try:
            await self.begin([claim])
        except BaseException:
            self.release(claim)
            raise
        return [claim] if self._lease.owns(claim) else []

    def owns(self, claim: Claim) -> bool:
        """See `Inbox`."""
        return self._lease.owns(claim)

    async def begin(self, claims: Collection[Claim]) -> None:
        """See `Inbox`."""
        gathered = [claim for claim in claims if claim.is_gathered]
        if not gathered:
            await trio.lowlevel.checkpoint()
            return
        step = ("begin", [(str(claim.number), claim.token) for claim in gathered])
        if not await self._ask(SETTLE, step, bool_of):
            raise InboxError(f"{self!r}: another process has taken over what was to begin")
        for claim in gathered:
            claim.is_gathered = False

    async def wait_changed(self) -> None:
        """See `Inbox`."""
        await self._tickets.wait()

    async def flush(self) -> None:
        """See `Inbox`."""
        await self._pump.flush()

    # Settling

    def succeeded(self, claim: Claim, handler: str, result: bytes | None) -> None:
        """See `Inbox`."""
        step = (
            "succeeded",
            str(claim.number),
            claim.token,
            handler,
            False if result is None else string(result),
        )
        self._settle(claim, step, self._still)

    def failed(self, claim: Claim, handler: str, error: str) -> None:
        """See `Inbox`."""
        self._settle(claim, ("failed", str(claim.number), claim.token, handler, error), self._still)

    async def note(self, claim: Claim, handler: str, key: str, value: bytes) -> bool:
        """See `Inbox`."""
        if len(value) > LARGEST_NOTE:
            raise ValueError(f"a note of {len(value)} bytes: it may have {LARGEST_NOTE}")
        step = ("note", str(claim.number), claim.token, handler, key, string(value))
        is_ours = await self._ask(STORE, step, bool_of)
        if not is_ours:
            self._still(claim, False)
        return is_ours

    def done(self, claim: Claim) -> None:
        """See `Inbox`."""
        self._settle(claim, ("done", str(claim.number), claim.token), self._ended)

    def retry(self, claim: Claim, delay: float, error: str, *, counts: bool) -> None:
        """See `Inbox`."""
        step = ("retry", str(claim.number), claim.token, delay, error, counts, self.rules.strict_order)

        def waits(claim: Claim, is_ours: bool) -> None:
            self._ended(claim, is_ours)
            self._tickets.due_too(delay)

        self._settle(claim, step, waits)

    def die(self, claim: Claim, error: str) -> None:
        """See `Inbox`."""

        def died(claim: Claim, is_ours: bool) -> None:
            self._ended(claim, is_ours)
            self._tell(self.has_untold or is_ours)

        self._settle(claim, ("die", str(claim.number), claim.token, error), died)

    def release(self, claim: Claim) -> None:
        """See `Inbox`."""
        self._settle(claim, ("release", str(claim.number), claim.token), self._ended)

    def keep(self, claim: Claim) -> None:
        """See `Inbox`."""
        self._kept.add(claim.number)

    def park(self, claim: Claim) -> None:
        """See `Inbox`."""
        self._settle(claim, ("park", str(claim.number), claim.token), self._ended)

    def _settle(self, claim: Claim, step: tuple[Any, ...], then: Callable[[Claim, bool], None]) -> None:
        """Note what became of a claim, unless it is known to be outdated."""
        if self._lease.owns(claim):
            self._pump.note(SETTLE, step, bool_of, partial(then, claim))
        else:
            self._is_late(claim)

    def _still(self, claim: Claim, is_ours: bool) -> None:
        """A note of a claim was written, unless it is outdated."""
        if not is_ours and self._lease.owns(claim):
            self._is_late(claim)
            self._lose([claim.number])

    def _ended(self, claim: Claim, is_ours: bool) -> None:
        """A claim was settled, unless it is outdated."""
        if self._lease.owns(claim):
            del self._lease.held[claim.number]
        if not is_ours:
            self._is_late(claim)

    # Beside the rest

    async def unpark(self, types: Collection[str]) -> int:
        """See `Inbox`."""
        count = 0
        while True:
            some = await self._ask(MEND, ("unpark", list(types), _STEP), read_number)
            count += some
            if some < _STEP:
                self.parked_types = frozenset(self.parked_types).difference(types)
                return count

    async def cancel(self, lane: str, spared: Collection[int] = (), keys: Collection[str] = ()) -> Cancelled:
        """See `Inbox`. What other processes run of it they find out with their next renewal, within a second."""
        cancelled = Cancelled(0, [], 0)
        ask: dict[str, Any] = {
            "owner": self._lease.owner,
            "lane": lane,
            "spared": list(spared),
            "keys": _digests(keys),
            "limit": _STEP,
        }
        while True:
            some = await self._ask(MEND, ("cancel", ask), read_cancelled)
            cancelled.count += some.count
            cancelled.running += some.running
            cancelled.known += some.known
            for each in some.running:
                self._lease.held.pop(each, None)
            self._keep_reserved()
            if optional(some.upto) is None:
                return cancelled
            ask["upto"] = some.upto

    async def wait_untold(self) -> None:
        """See `Inbox`."""
        await trio.lowlevel.checkpoint()
        while not self.has_untold:
            await self._dead.park()

    async def untold(self, limit: int) -> list[Details]:
        """See `Inbox`. Each dead letter is told of by one of the processes."""
        untold = await self._ask(MEND, ("untold", self._lease.owner, limit), read_untold)
        if not untold:
            self.has_untold = False
        return untold

    def told(self, number: int) -> None:
        """See `Inbox`."""
        self._pump.note(SETTLE, ("told", self._lease.owner, number), bool_of, self._tell)

    # Asking

    async def _numbers(self, ids: Sequence[str | int]) -> list[int]:
        """The numbers of events, of which some are given by their ids; without those that there are not."""
        wanted = [
            # What has no form in UTF-8 was read so.
            each
            if isinstance(each, int)
            else (string(digest(EVENT_KEY + each)), each.encode("utf-8", "replace").decode())
            for each in ids
            if not isinstance(each, int) or 0 < each <= _LARGEST_NUMBER
        ]
        numbers: list[int] = []
        for first in range(0, len(wanted), _STEP):
            numbers += await self._ask(LOOK, ("find", wanted[first : first + _STEP]), read_numbers)
        return numbers

    async def _ask(
        self,
        script: Script,
        step: tuple[Any, ...],
        read: Callable[[msgspec.Raw], T],
        on_left: Callable[[T], None] | None = None,
    ) -> T:
        if self._is_visited and script not in _OF_VISITORS:
            raise InboxError(f"{self!r} is only visited: a session or a worker stores and claims")
        if not (self._is_open or self._is_visited):
            raise InboxError(f"{self!r} is not open: it is within the block of its session, or of `visit`")
        return await self._pump.ask(script, step, read, on_left)

    async def _list_settled(self, state: State, limit: int, after: int) -> list[Summary]:
        """These are kept by when they were settled, and looked through for those with the lowest numbers."""
        lowest: set[int] = set()
        cursor = "0"
        while True:
            scanned = await self._ask(LOOK, ("scan_settled", state, cursor), read_scanned)
            lowest.update(number for number in scanned.numbers if number > after)
            if len(lowest) > 2 * limit:
                lowest = set(heapq.nsmallest(limit, lowest))
            cursor = scanned.cursor
            if cursor == "0":
                break
        numbers = sorted(lowest)[:limit]
        found: list[Summary] = []
        for first in range(0, len(numbers), _STEP):
            found += await self._ask(LOOK, ("list", state, numbers[first : first + _STEP]), read_summaries)
        return found

    # For users

    async def counts(self) -> Counts:
        """See `Inbox`."""
        return await self._ask(LOOK, ("counts",), read_counts)

    async def requeue(self, ids: Iterable[str | int]) -> int:
        """See `Inbox`."""
        numbers = await self._numbers([ids] if isinstance(ids, str) else list(ids))
        count = 0
        for first in range(0, len(numbers), _STEP):
            step = ("requeue", self._lease.owner, numbers[first : first + _STEP])
            requeued = await self._ask(MEND, step, read_requeued)
            count += requeued.count
            self._tell(requeued.has_untold)
        return count

    async def purge(self, state: State | str, older_than: float) -> int:
        """See `Inbox`."""
        state = forgettable(state)
        count = 0
        while True:
            some = await self._ask(TEND, ("purge", state, older_than, _STEP), read_number)
            count += some
            if some < _STEP:
                return count

    async def show(self, event: str | int) -> Details | None:
        """See `Inbox`."""
        numbers = await self._numbers([event])
        return await self._ask(LOOK, ("show", numbers[0]), read_details) if numbers else None

    async def list(self, state: State | str, limit: int = 100, after: int = 0) -> list[Summary]:
        """See `Inbox`."""
        state = known_state(state)
        if state in _SETTLED:
            return await self._list_settled(state, limit, after)
        found: list[Summary] = []
        behind: int | None = after
        while behind is not None and len(found) < limit:
            listed = await self._ask(LOOK, ("list_live", state, limit - len(found), behind), read_listed)
            found += [each.summary() for each in listed.events]
            behind = optional(listed.behind)
        return found


def _entry(entry: Entry) -> tuple[Any, ...]:
    """An event as it is stored."""
    digests = _digests(entry.keys)
    is_odd = EVENT_KEY + entry.id not in entry.keys
    return (
        entry.type,
        False if entry.lane is None else entry.lane,
        string(encode_event(entry, digests, is_odd=is_odd)),
        string(encode_body(entry.message_id, entry.trace_id, entry.payload)),
        entry.id if is_odd else False,
        digests,
    )


def _digests(keys: Iterable[str]) -> msgspec.Raw:
    return string(b"".join(map(digest, dict.fromkeys(keys))))
