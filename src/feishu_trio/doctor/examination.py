"""The checks, and their order."""

from __future__ import annotations

import math
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

import attrs
import trio

from ..api.client import Client
from ..api.watching import Unanswered
from ..config import FEISHU_DOMAIN, LARK_DOMAIN, SessionConfig, SettingOrigin, wrong
from ..connection import http_client
from ..connection.discovery import WRONG_DOMAIN, Endpoint, discover, what_to_do
from ..connection.probe import Probed, probe
from ..errors import ApiError, ConnectError, FeishuError, PermissionMissing, RefusedError
from ..prepare import check_trio
from .findings import Fault, Finding, Verdict, failed, not_tried, ok, unknown, warning
from .network import Way, milliseconds

if TYPE_CHECKING:
    import httpx

__all__ = ["CHECKS", "examine"]

# Seconds by which the clocks may differ. HTTP's Date has whole seconds, and the way takes some time.
_CLOCKS: Final = 5.0
# Connections that Feishu allows an app.
_LIMIT: Final = 50

_APP_ID: Final = re.compile(r"cli_[0-9a-f]{16}")
_SECRET: Final = re.compile(r"[0-9A-Za-z]{32}")
_OWN: Final = {FEISHU_DOMAIN: "Feishu", LARK_DOMAIN: "Lark"}
_THEIRS: Final = ("feishu.cn", "larksuite.com", "larkoffice.com")

# Of the token: a wrong app_id or app_secret. Of calls: the app has no bot.
_WRONG_CREDENTIALS: Final = {10003, 10014, 10015}
_NO_BOT: Final = {11205, 230006}

_CREDENTIALS_PAGE: Final = "they stand in the developer console, under Credentials & Basic Info"
_EVENTS_PAGE: Final = "developer console, Events & Callbacks"


class _Caller(Client):
    async def authorize(self) -> None:
        """Get a token, which further calls use. Raises `ApiError`."""
        try:
            await self._token.get()
        except Unanswered as lost:
            raise lost.error from None


@attrs.frozen
class _Step:
    checks: tuple[str, ...]
    needs: tuple[str, ...]
    """Checks without which it makes no sense."""
    run: Callable[[_Examination], Awaitable[tuple[Finding, ...]]]


class _Examination:
    """One examination: what is known so far, and a method for each step."""

    def __init__(self, config: SessionConfig, deadline: float) -> None:
        self.deadline = deadline
        self.missing: set[str] = set()
        """Checks that failed, or were not tried because of one that did."""
        self._config = config
        self._way = Way(config)
        self._stack = AsyncExitStack()
        self._opened: httpx.AsyncClient | None = None
        self._caller: _Caller | None = None
        self._asked_at = 0.0
        self._ahead: float | None = None  # seconds by which their clock is ahead of ours
        self._endpoint: Endpoint | None = None

    @property
    def patience(self) -> float:
        """Seconds for one step."""
        return min(self._config.connect_timeout, self.deadline - trio.current_time())

    async def aclose(self) -> None:
        """Close what was opened."""
        with trio.move_on_after(2, shield=True):
            await self._stack.aclose()

    # What needs no network

    async def credentials(self) -> tuple[Finding, ...]:
        config, check = self._config, "credentials"
        origins = {each.name: each for each in config.in_force()}

        def by(name: str) -> str:
            origin = origins[name]
            return f" ({origin.place})" if origin.origin is not SettingOrigin.GIVEN else ""

        if not config.app_id:
            remedy = f"set FEISHU_APP_ID and FEISHU_APP_SECRET; {_CREDENTIALS_PAGE}"
            return (failed(check, Fault.CONFIGURATION, "there is no app id", remedy),)
        found = f"{config.app_id}{by('app_id')}"
        if config.client_assertion is not None:
            return (ok(check, f"{found}, and a client assertion", app_id=config.app_id),)
        if not config.app_secret:
            remedy = f"set FEISHU_APP_SECRET; {_CREDENTIALS_PAGE}"
            return (failed(check, Fault.CONFIGURATION, f"{found}, and no app secret", remedy),)
        found += f", and its secret{by('app_secret')}"
        flaws = []
        if not _APP_ID.fullmatch(config.app_id):
            flaws.append("the id is not cli_ and 16 hexadecimal digits, as Feishu's are")
        if config.domain in _OWN and not _SECRET.fullmatch(config.app_secret):
            flaws.append("the secret is not 32 letters and digits, as Feishu's are")
        if flaws:
            remedy = f"see that it was copied whole; {_CREDENTIALS_PAGE}"
            return (warning(check, f"{found}: {'; '.join(flaws)}", remedy, app_id=config.app_id),)
        return (ok(check, found, app_id=config.app_id),)

    async def domain(self) -> tuple[Finding, ...]:
        domain, way, check = self._config.domain, self._way, "domain"
        known = ", ".join(f"{url} for {name}" for url, name in _OWN.items())
        if domain in _OWN:
            return (ok(check, f"{domain}: {_OWN[domain]}", domain=domain),)
        if way.host.endswith(_THEIRS):
            found = f"{domain}: that is not where apps connect"
            return (warning(check, found, f"set domain (FEISHU_DOMAIN): {known}", domain=domain),)
        if not way.tls and not way.is_here:
            found = f"{domain}: the app's secret goes there without TLS"
            return (warning(check, found, "let it be https://", domain=domain),)
        return (ok(check, f"{domain}: neither Feishu's nor Lark's own", domain=domain),)

    # The way there

    async def proxy(self) -> tuple[Finding, ...]:
        return (await self._way.check_proxy(),)

    async def dns(self) -> tuple[Finding, ...]:
        return (await self._way.check_dns(),)

    async def tcp(self) -> tuple[Finding, ...]:
        return (await self._way.check_tcp(),)

    async def tls(self) -> tuple[Finding, ...]:
        return (await self._way.check_tls(),)

    # Feishu itself

    async def discovery(self) -> tuple[Finding, ...]:
        check, began = "discovery", trio.current_time()
        try:
            endpoint = self._endpoint = await discover(await self._http(), self._config)
        except (ConnectError, RefusedError) as error:
            return (self._not_discovered(error),)
        took, wishes = trio.current_time() - began, endpoint.client_config
        tries = "without end" if wishes.reconnect_count is None else f"{wishes.reconnect_count} times"
        found = (
            f"{endpoint.host}:{endpoint.port} in {milliseconds(took)}; ping every {wishes.ping_interval:g} s, "
            f"reconnect {tries}, every {wishes.reconnect_interval:g} s"
        )
        details = {
            "code": 0,
            "host": endpoint.host,
            "port": endpoint.port,
            "device_id": endpoint.device_id,
            "ping_interval": wishes.ping_interval,
            "reconnect_interval": wishes.reconnect_interval,
            "reconnect_count": wishes.reconnect_count,
            "connection_limit": _LIMIT,
            "seconds": took,
        }
        return (ok(check, found, **details),)

    def _not_discovered(self, error: FeishuError) -> Finding:
        fault = Fault.REFUSED if isinstance(error, RefusedError) else Fault.UNREACHABLE
        remedy = what_to_do(error.code)
        found = str(error).removesuffix(f": {remedy}")
        if error.code == WRONG_DOMAIN:
            self.missing.add("domain")
            domain = self._config.domain
            if domain in _OWN:
                other = LARK_DOMAIN if domain == FEISHU_DOMAIN else FEISHU_DOMAIN
                remedy = f"the app is {_OWN[other]}'s, not {_OWN[domain]}'s: set FEISHU_DOMAIN={other}"
        elif not remedy:
            remedy = (
                "check the app_id, the app_secret and the domain, which must belong together"
                if fault is Fault.REFUSED
                else "try again in a while; if it goes on, see that domain is right and nothing on the way answers "
                "in its place"
            )
        return failed("discovery", fault, found, remedy, code=error.code)

    async def token(self) -> tuple[Finding, ...]:
        check = "token"
        config = self._config
        self._caller = _Caller(
            await self._http(),
            config.domain,
            config.app_id or "",
            config.app_secret or "",
            timeout=self.patience,
            assertion=config.client_assertion,
        )
        began = trio.current_time()
        try:
            await self._caller.authorize()
        except ApiError as error:
            remedy = "see the domain, and try again in a while"
            if error.code in _WRONG_CREDENTIALS:
                remedy = (
                    f"check the app_id and app_secret; {_CREDENTIALS_PAGE}. A secret that was reset is void"
                )
            return (_refused(check, error, remedy),)
        took = trio.current_time() - began
        return (ok(check, f"granted in {milliseconds(took)}", seconds=took),)

    async def handshake(self) -> tuple[Finding, ...]:
        endpoint, check = self._endpoint, "handshake"
        assert endpoint is not None
        address = f"{endpoint.host}:{endpoint.port}"
        # Half of the time each for the handshake and for the pong, if there is too little for both.
        left = (self.deadline - trio.current_time()) * 0.45
        try:
            probed = await probe(endpoint, self._config, patience=min(self._config.connect_timeout, left))
        except (ConnectError, RefusedError) as error:
            refused = isinstance(error, RefusedError) or error.code is not None
            remedy = what_to_do(error.code) or (
                "try again in a while"
                if refused
                else f"have the firewall, and the proxy if there is one, let {address} through, also as a WebSocket"
            )
            found = str(error).removesuffix(f": {remedy}")
            fault = Fault.REFUSED if isinstance(error, RefusedError) else Fault.UNREACHABLE
            return (failed(check, fault, found, remedy, code=error.code, host=endpoint.host),)
        shaken = ok(check, f"{address} in {milliseconds(probed.handshake)}", seconds=probed.handshake)
        return shaken, self._ping(probed)

    def _ping(self, probed: Probed) -> Finding:
        refused = probed.refused
        meanwhile, details = "", {"seconds": probed.ping, "events_refused": refused}
        if refused:
            events, come = ("1 event", "comes") if refused == 1 else (f"{refused} events", "come")
            meanwhile = f"; {events} came meanwhile, refused here, and {come} again"
        if probed.ping is None:
            return failed(
                "ping",
                Fault.UNREACHABLE,
                f"{probed.trouble}{meanwhile}",
                "see that the proxy, or what else is on the way, lets WebSocket messages through",
                **details,
            )
        return ok("ping", f"pong in {milliseconds(probed.ping)}{meanwhile}", **details)

    async def clock(self) -> tuple[Finding, ...]:
        check, ahead = "clock", self._ahead
        if ahead is None:
            return (unknown(check, "no HTTP answer said what time it is"),)
        text = f"{abs(ahead):.0f} s {'behind' if ahead > 0 else 'ahead of'} the server's"
        if abs(ahead) <= _CLOCKS:
            return (ok(check, "agrees with the server's to within a few seconds", behind=ahead),)
        return (
            warning(
                check,
                f"this machine's clock is {text}",
                "set it by NTP. By it certificates and the tokens of keyless apps are valid or not, an inbox's max_age "
                "and window count, and events and the log are dated",
                behind=ahead,
            ),
        )

    async def connections(self) -> tuple[Finding, ...]:
        found = f"one of the {_LIMIT} that Feishu allows was free; how many others the app has open, Feishu does not say"
        remedy = (
            "if events are missing, look for another client of this app that runs: each event goes to one of them, at "
            "random"
        )
        return (unknown("connections", found, remedy, limit=_LIMIT),)

    async def bot(self) -> tuple[Finding, ...]:
        assert self._caller is not None
        try:
            bot = await self._caller.bot()
        except ApiError as error:
            # Where there is no bot, the call is refused, or answered without one.
            if error.code in _NO_BOT or "without an open_id" in str(error):
                remedy = "switch on the bot: developer console, Add Features, Bot; then publish a version of the app"
                return (failed("bot", Fault.REFUSED, str(error), remedy, code=error.code),)
            return (_refused("bot", error, "try again in a while; Feishu's support knows the log id"),)
        return (ok("bot", f"{bot.name}, {bot.open_id}", name=bot.name, open_id=bot.open_id),)

    async def subscription(self) -> tuple[Finding, ...]:
        check = "subscription"
        assert self._caller is not None
        path = f"/open-apis/application/v6/applications/{self._config.app_id}"
        try:
            body = await self._caller.request("GET", path, params={"lang": "en_us"})
        except PermissionMissing as error:
            return (
                unknown(check, "the app may not read its own settings", f"add a permission: {error.link}"),
            )
        except ApiError as error:
            return (unknown(check, str(error), f"look yourself: {_EVENTS_PAGE}"),)
        return (_subscribed(check, body.get("data")),)

    async def _http(self) -> httpx.AsyncClient:
        if self._opened is None:
            http = self._opened = await self._stack.enter_async_context(http_client(self._config))
            http.event_hooks = {"request": [self._note_request], "response": [self._note_date]}
        return self._opened

    async def _note_request(self, request: httpx.Request) -> None:
        self._asked_at = time.time()

    async def _note_date(self, response: httpx.Response) -> None:
        try:
            theirs = parsedate_to_datetime(response.headers.get("Date", "")).timestamp()
        except (ValueError, OverflowError):  # it is no date; a number in it may have any length
            return
        # In the middle of the second that it names, when half of the time was over.
        self._ahead = theirs + 0.5 - (self._asked_at + time.time()) / 2


def _refused(check: str, error: ApiError, remedy: str) -> Finding:
    fault = Fault.UNREACHABLE if error.status is None else Fault.REFUSED
    return failed(check, fault, str(error), remedy, code=error.code, log_id=error.log_id)


def _subscribed(check: str, data: Any) -> Finding:
    app = data.get("app") if isinstance(data, dict) else None
    event = app.get("event") if isinstance(app, dict) else None
    kind = event.get("subscription_type") if isinstance(event, dict) else None
    events = event.get("subscribed_events") if isinstance(event, dict) else None
    if not isinstance(kind, str) or not isinstance(events, list):
        return unknown(check, "the app's settings do not say", f"look yourself: {_EVENTS_PAGE}")
    names = [str(each) for each in events]
    details = {"subscription_type": kind, "subscribed_events": names}
    if kind != "websocket":
        remedy = (
            f"{_EVENTS_PAGE}: choose the long connection (使用长连接接收事件), while a client is connected"
        )
        found = f"events go elsewhere, by {kind!r}, and not over the long connection"
        return failed(check, Fault.OTHER, found, remedy, **details)
    if not names:
        remedy = (
            f"{_EVENTS_PAGE}: add events, such as im.message.receive_v1, and publish a version of the app"
        )
        return warning(check, "over the long connection, and to no event", remedy, **details)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ok(check, f"over the long connection: {', '.join(names[:3])}{more}", **details)


_STEPS: Final = (
    _Step(("credentials",), (), _Examination.credentials),
    _Step(("domain",), (), _Examination.domain),
    _Step(("proxy",), (), _Examination.proxy),
    _Step(("dns",), ("proxy",), _Examination.dns),
    _Step(("tcp",), ("dns",), _Examination.tcp),
    _Step(("tls",), ("tcp",), _Examination.tls),
    _Step(("discovery",), ("credentials", "tls"), _Examination.discovery),
    _Step(("token",), ("credentials", "domain", "tls"), _Examination.token),
    _Step(("handshake", "ping"), ("discovery",), _Examination.handshake),
    _Step(("clock",), ("tls",), _Examination.clock),
    _Step(("connections",), ("handshake",), _Examination.connections),
    _Step(("bot",), ("token",), _Examination.bot),
    _Step(("subscription",), ("token",), _Examination.subscription),
)

CHECKS: Final = tuple(check for step in _STEPS for check in step.checks)
"""The names of all checks, in order."""


async def examine(config: SessionConfig, *, timeout: float = 30.0) -> AsyncGenerator[Finding, None]:
    """Find out what keeps an app from getting its events: one finding for each of `CHECKS`, in order, as it is known.

    One connection is opened, and closed again at once. Events that come on it meanwhile are refused (500), so that
    Feishu delivers them again; the finding `ping` says how many.

    It is to be closed if it is not read to its end (`contextlib.aclosing`); it may be cancelled at any time.

    Args:
        config: The settings of the session that is to work. Wrong or missing credentials are a finding.
        timeout: Seconds for all checks. One step may take `config.connect_timeout`.

    Raises:
        RuntimeError: This is not run by trio.
        ConfigError: `timeout` is wrong.
        Exception: What functions among the settings raise, as `client_assertion`.
    """
    check_trio("examine")
    if not 0 < timeout < math.inf:
        raise wrong("timeout", timeout, "a number of seconds, more than 0")
    examination = _Examination(config, trio.current_time() + timeout)
    missing = examination.missing
    try:
        for step in _STEPS:
            lacks = next((need for need in step.needs if need in missing), None)
            if lacks is not None:
                findings = tuple(not_tried(check, f"it needs {lacks}") for check in step.checks)
                missing.update(step.checks)
            else:
                findings = await _run(step, examination, timeout)
            for finding in findings:
                if finding.verdict is Verdict.FAILED:
                    missing.add(finding.check)
                yield finding
            for check in step.checks[len(findings) :]:
                missing.add(check)
                yield not_tried(check, f"it needs {step.checks[0]}")
    finally:
        await examination.aclose()


async def _run(step: _Step, examination: _Examination, timeout: float) -> tuple[Finding, ...]:
    """Run a step within its time. The first that the whole time is too short for has failed."""
    left = examination.deadline - trio.current_time()
    check = step.checks[0]
    over = f"the {timeout:g} s for all checks were over"
    if left > 0:
        # That with two checks has deadlines of its own.
        within = examination.patience if len(step.checks) == 1 else left
        with trio.move_on_after(within):
            return await step.run(examination)
        if examination.deadline > trio.current_time():
            found = f"no answer within {within:.3g} s"
            return (
                failed(check, Fault.UNREACHABLE, found, "see what holds it up, or raise connect_timeout"),
            )
    elif examination.missing:
        examination.missing.update(step.checks)
        return tuple(not_tried(each, over) for each in step.checks)
    remedy = "see what took so long, or give it a longer timeout"
    return (failed(check, Fault.UNREACHABLE, f"it was not done when {over}", remedy),)
