"""Where an inbox's Redis or Valkey is, whether it can keep one, and the link to it.

A link is two of coredis' connections without its pool, which would lose a slot with each call that is cancelled
(coredis 6.9): one for scripts, one to wait with. When anything goes wrong with it, the link ends as a whole, and another
is opened. They are dialled here: coredis would leave its own streams open if that failed.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Sequence
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

import attrs
import trio

from ..config.rules import Form, Rule, masked_url
from ..errors import InboxError
from .redis_scripts import SCRIPTS, Script

try:
    import anyio
    from anyio.abc import ByteStream
    from coredis.connection import BaseConnection, TCPLocation
    from coredis.exceptions import (
        AuthenticationError,
        AuthorizationError,
        BusyLoadingError,
        ClusterDownError,
        MovedError,
        NoScriptError,
        ReadOnlyError,
        RedisError,
        ResponseError,
        UnknownCommandError,
    )
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "RedisInbox needs coredis, which is not installed: pip install 'feishu-trio[redis]'", name=error.name
    ) from error

__all__ = [
    "PATIENCE",
    "Address",
    "Link",
    "LinkError",
    "Refusal",
    "Server",
    "Unsuitable",
    "read_url",
    "server_url",
]

PATIENCE: Final = 2.0
"""Seconds for a server to answer; Feishu waits three for its own answer."""

_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379
_SENTINEL: Final = "+sentinel"
_OF_SENTINELS: Final = frozenset({"sentinel_user", "sentinel_password"})
_SCHEMES: Final = ("redis", "rediss", f"redis{_SENTINEL}", f"rediss{_SENTINEL}")
_OLDEST: Final = (7, 0)
_NO_DATABASE: Final = ("DB index is out of range", "SELECT is not allowed in cluster mode")


class LinkError(InboxError):
    """The server does not answer, or not as the one that was asked for: worth another try."""

    moved_to: tuple[str, int] | None = None
    """The host and port of the node of a cluster that has the inbox."""


class Unsuitable(InboxError):
    """The server cannot keep an inbox as it is; the message says which lines of its configuration to change."""


class Refusal(InboxError):
    """The server answers, but does not do what it is asked for at the moment: its memory is full, say."""


# --- where it is --------------------------------------------------------------------------------------------


@attrs.frozen
class Address:
    """Where a server is, and who is to be there: what its URL says."""

    hosts: tuple[tuple[str, int], ...]
    """The server's host and port, or those of Sentinels."""
    service: str
    """The name that Sentinels know the server by; empty without them."""
    database: int
    is_tls: bool
    user: str | None
    password: str | None = attrs.field(repr=False)
    sentinel_user: str | None
    sentinel_password: str | None = attrs.field(repr=False)
    prefix: str | None
    """What the keys of the inbox begin with."""


def read_url(url: str) -> Address:
    """What a URL says.

    Raises:
        ValueError: It is none of a server.
    """
    if any(letter <= " " for letter in url):
        raise ValueError("white space")
    parts = urlsplit(url)
    has_sentinels = parts.scheme.endswith(_SENTINEL)
    hosts = tuple(_hosts(parts, _SENTINEL_PORT if has_sentinels else _PORT))
    path = parts.path.strip("/").split("/")
    service = path.pop(0) if has_sentinels else ""
    database = path[0] if path else ""
    query = dict(_query(parts.query))
    if (
        parts.scheme not in _SCHEMES
        or not all(host for host, _ in hosts)
        or not (service if has_sentinels else len(hosts) == 1)
        or len(path) > 1
        or (database and not database.isdecimal())
        or not query.keys() <= (_OF_SENTINELS | {"prefix"} if has_sentinels else {"prefix"})
        or parts.fragment
    ):
        raise ValueError("no URL of a server")
    return Address(
        hosts=hosts,
        service=unquote(service),
        database=int(database or 0),
        is_tls=parts.scheme.startswith("rediss"),
        user=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        sentinel_user=query.get("sentinel_user"),
        sentinel_password=query.get("sentinel_password"),
        prefix=query.get("prefix"),
    )


def _hosts(parts: SplitResult, port: int) -> Iterator[tuple[str, int]]:
    """The hosts of a URL, which may be several, with their ports."""
    for each in parts.netloc.rpartition("@")[2].split(","):
        address = urlsplit(f"//{each}")
        yield address.hostname or "", address.port or port


def _query(query: str) -> Iterator[tuple[str, str]]:
    """The names and values of a query, in which a plus sign is one, as in a password before the host."""
    for each in query.split("&") if query else ():
        name, _, value = each.partition("=")
        if not value:
            raise ValueError("a query without a value")
        yield name, unquote(value)


def _is_url(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(read_url(value))
    except ValueError:
        return False


def server_url() -> Rule:
    """The URL of a server, or of Sentinels and the name that they know a server by."""
    return Rule(
        "redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE][?prefix=PREFIX], rediss:// for TLS, or "
        "redis+sentinel://[USER:PASSWORD@]HOST[:PORT],HOST[:PORT]/SERVICE[/DATABASE], after a `?` also with "
        "sentinel_user= and sentinel_password=",
        _is_url,
        show=masked_url,
        form=Form.TEXT,
    )


# --- the link -----------------------------------------------------------------------------------------------


class Connection(BaseConnection):
    """One of coredis' connections, over a stream that is open."""

    def __init__(self, stream: ByteStream, host: str, port: int, **arguments: Any) -> None:
        super().__init__(TCPLocation(host, port), **arguments)
        self._stream = stream

    async def _connect(self) -> ByteStream:
        return self._stream

    def describe(self) -> str:
        """Where it leads to."""
        return f"Connection<{self.location}>"


class Link:
    """Two open connections to a server. It ends when one of them does, or does not answer in time."""

    def __init__(self, commands: Connection, waiting: Connection, key: bytes) -> None:
        self._commands = commands
        self._waiting = waiting
        self._key = key

    async def run(self, calls: Sequence[tuple[Script, bytes]]) -> list[bytes | Refusal]:
        """Run scripts with their arguments, one after the other; what each gave back, or why it was refused.

        Raises:
            LinkError: They have not been answered, and may have run or not.
        """
        with trio.move_on_after(PATIENCE):
            try:
                requests = [self._request(b"EVALSHA", script.sha, body) for script, body in calls]
                replies: list[bytes | Refusal] = []
                for (script, body), request in zip(calls, requests, strict=True):
                    try:
                        replies.append(await request)
                    except NoScriptError:  # the server was started anew, or was told to forget its scripts
                        replies.append(await self._with_text(script, body))
                    except ResponseError as error:
                        replies.append(_refusal(error))
                return replies
            except (RedisError, OSError) as error:
                raise _link_error(error) from error
        raise LinkError(f"the server has not answered within {PATIENCE:g} s")

    async def load(self) -> None:
        """Have the server know the scripts, so that none is sent again after others that came later.

        Raises:
            LinkError: The server does not answer, or not as it should.
        """
        try:
            for request in [self._commands.create_request(b"SCRIPT LOAD", each.text) for each in SCRIPTS]:
                await request
        except AuthorizationError:
            pass  # whoever may not load them may run them: each is sent when it is missed
        except (RedisError, OSError) as error:
            raise _link_error(error) from error

    async def _with_text(self, script: Script, body: bytes) -> bytes | Refusal:
        try:
            reply: bytes = await self._request(b"EVAL", script.text, body)
        except ResponseError as error:
            return _refusal(error)
        return reply

    def _request(self, command: bytes, script: bytes, body: bytes) -> Any:
        return self._commands.create_request(command, script, 1, self._key, body, decode=False)

    async def pop(self, lists: Sequence[str], seconds: float) -> str | None:
        """Wait until one of these lists has something, and take it out; the list's key, None if none had.

        Raises:
            LinkError: The server does not answer.
        """
        with trio.move_on_after(seconds + PATIENCE):
            try:
                reply = await self._waiting.create_request(b"BLPOP", *lists, seconds, decode=False)
            except (RedisError, OSError) as error:
                raise _link_error(error) from error
            return reply[0].decode() if isinstance(reply, list) and isinstance(reply[0], bytes) else None
        raise LinkError(f"the server has not answered for {seconds + PATIENCE:g} s")


async def _hear(stream: ByteStream) -> None:
    """Wait until a server says anything at all: coredis logs a traceback of each that takes a connection and is silent."""
    try:
        await stream.send(b"PING\r\n")
        while not (await stream.receive()).endswith(b"\n"):
            pass
    except BaseException:
        await anyio.aclose_forcefully(stream)
        raise


# After these another server is to be asked, or the same one as a new client.
_OF_THE_LINK: Final = (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    MovedError,
    ReadOnlyError,
)


def _refusal(error: ResponseError) -> Refusal:
    """A script was refused: why.

    Raises:
        LinkError: For a reason of the whole server.
    """
    if isinstance(error, _OF_THE_LINK) or str(error).startswith("MASTERDOWN"):
        raise _link_error(error) from error
    return Refusal(f"the server refuses it: {error}")


def _link_error(error: Exception, what: str = "") -> LinkError:
    if isinstance(error, ReadOnlyError):
        return LinkError("the server has become a replica, which cannot be written to")
    if isinstance(error, MovedError):
        moved = LinkError("another node of the cluster has the inbox: {}:{}".format(*error.node_addr))
        moved.moved_to = error.node_addr
        return moved
    # Some say only what could not be done, and their cause why.
    why = str(error.__cause__ or error)
    if not what and not why:
        return LinkError("the connection to the server was lost")
    return LinkError(": ".join(filter(None, (what or type(error).__name__, why))))


# --- the server ---------------------------------------------------------------------------------------------


class Server:
    """A server, and how it is found.

    Args:
        address: Where it is.
        key: The key under which the inbox keeps all.
        is_on_disk: Whether what is stored is to be on the server's disk before anybody hears of it.
    """

    def __init__(self, address: Address, key: bytes, *, is_on_disk: bool) -> None:
        self._address = address
        self._hosts = list(address.hosts)
        self._ssl = ssl.create_default_context() if address.is_tls else None
        self._key = key
        self._is_on_disk = is_on_disk
        self._node: tuple[str, int] | None = None

    def look_elsewhere(self, error: Exception) -> None:
        """A link failed: the next one leads where a cluster says that the inbox is, or to where the URL says."""
        self._node = error.moved_to if isinstance(error, LinkError) else None

    async def open(self, nursery: trio.Nursery) -> Link:
        """Open a link, whose connections live in a nursery, after a look at whether the server can keep an inbox.

        Raises:
            LinkError: It cannot be reached, or is not ready yet.
            Unsuitable: It can be, but is not to be used.
        """
        with trio.move_on_after(2 * PATIENCE):
            host, port = await self._locate(nursery)
            commands = await self._connect(nursery, host, port)
            await self._check(commands, f"{host}:{port}")
            link = Link(commands, await self._connect(nursery, host, port), self._key)
            await link.load()
            return link
        raise LinkError(f"the server has not answered within {2 * PATIENCE:g} s")

    async def _locate(self, nursery: trio.Nursery) -> tuple[str, int]:
        """The address of the server; Sentinels are asked for it, one after the other."""
        if self._node is not None:
            return self._node
        if not self._address.service:
            return self._hosts[0]
        errors = []
        for at, (host, port) in enumerate(self._hosts):
            try:
                with trio.fail_after(PATIENCE / 2):
                    sentinel = await self._connect(nursery, host, port, is_sentinel=True)
                    reply = await sentinel.create_request(
                        b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", self._address.service, decode=True
                    )
                    sentinel.invalidate()
            except (LinkError, RedisError, trio.TooSlowError) as error:
                errors.append(f"{host}:{port}: {error or 'no answer'}")
                continue
            if isinstance(reply, list):
                self._hosts.insert(0, self._hosts.pop(at))  # it is asked first the next time
                return str(reply[0]), int(str(reply[1]))
            errors.append(f"{host}:{port} knows no {self._address.service!r}")
        raise LinkError(f"no Sentinel knows where the server is: {'; '.join(errors)}")

    async def _connect(
        self, nursery: trio.Nursery, host: str, port: int, *, is_sentinel: bool = False
    ) -> Connection:
        try:
            stream: ByteStream = await (
                anyio.connect_tcp(host, port)
                if self._ssl is None
                else anyio.connect_tcp(host, port, ssl_context=self._ssl, tls_standard_compatible=False)
            )
            await _hear(stream)
        except (OSError, anyio.BrokenResourceError, anyio.EndOfStream) as error:
            raise _link_error(error, f"{host}:{port} cannot be reached") from error
        address = self._address
        connection = Connection(
            stream,
            host,
            port,
            username=address.sentinel_user if is_sentinel else address.user,
            password=address.sentinel_password if is_sentinel else address.password,
            db=0 if is_sentinel else address.database,
            client_name="feishu_trio",
        )
        try:
            await nursery.start(connection.run)
        except (AuthenticationError, AuthorizationError) as error:
            who, given, where = (
                ("Sentinel", address.sentinel_password, "sentinel_password=PASSWORD behind its `?`")
                if is_sentinel
                else ("server", address.password, ":PASSWORD@ before the host")
            )
            hint = "" if given else f"; the URL has no password: write {where}"
            raise Unsuitable(
                f"the {who} at {host}:{port} refuses the user or password: {error}{hint}"
            ) from error
        except RedisError as error:
            if any(each in str(error) for each in _NO_DATABASE):
                raise Unsuitable(
                    f"the server at {host}:{port} has no database {address.database}: {error}"
                ) from error
            raise _link_error(error) from error
        return connection

    async def _check(self, connection: Connection, address: str) -> None:
        """Raise if the server at this address is not ready, or shall not keep an inbox."""
        try:
            text = await connection.create_request(b"INFO", decode=True)
            facts = dict(line.split(":", 1) for line in str(text).splitlines() if ":" in line)
            if facts.get("loading") == "1":
                raise LinkError(f"the server at {address} is loading its data")
            flaws = self._flaws(facts)
            if self._is_on_disk:
                flaws += await self._flaws_of_disk(connection, facts)
        except AuthorizationError as error:
            raise Unsuitable(f"the server at {address} does not let this user look at it: {error}") from error
        except (RedisError, OSError) as error:
            raise _link_error(error) from error
        if flaws:
            if self._address.service and facts.get("role") != "master":  # a failover is under way
                raise LinkError(f"the server at {address} is a replica still")
            raise Unsuitable(f"the server at {address} cannot keep an inbox: it {', and it '.join(flaws)}")

    @staticmethod
    def _flaws(facts: dict[str, str]) -> list[str]:
        flaws = []
        version = facts.get("redis_version", "0")
        if tuple(int(each) for each in version.split(".")[:2] if each.isdecimal()) < _OLDEST:
            flaws.append(f"is Redis {version}, and must be 7.0 or newer, or Valkey")
        # A replica in a cluster says itself which node has the inbox.
        if facts.get("role") != "master" and facts.get("cluster_enabled") != "1":
            primary = f"{facts.get('master_host')}:{facts.get('master_port')}"
            flaws.append(
                f"is a replica of {primary}: give the address of that one, or remove the line `replicaof` from this "
                "one's configuration"
            )
        policy = facts.get("maxmemory_policy", "noeviction")
        if facts.get("maxmemory", "0") != "0" and policy != "noeviction":
            flaws.append(
                f"forgets events when its memory is full: write `maxmemory-policy noeviction` in place of {policy}"
            )
        return flaws

    @staticmethod
    async def _flaws_of_disk(connection: Connection, facts: dict[str, str]) -> list[str]:
        if facts.get("aof_enabled") != "1":
            return [
                'keeps no log on its disk, for durability="disk": write `appendonly yes` and `appendfsync always`'
            ]
        try:
            reply = await connection.create_request(
                b"CONFIG GET", b"appendfsync", b"no-appendfsync-on-rewrite", decode=True
            )
        except (AuthorizationError, UnknownCommandError):
            return [
                'does not say when it writes to its disk, for durability="disk": allow its user `CONFIG GET`'
            ]
        settings = reply if isinstance(reply, dict) else {}
        flaws = []
        if (policy := settings.get("appendfsync")) != "always":
            flaws.append(
                f'writes to its disk later than it answers, for durability="disk": write `appendfsync always` in place of {policy}'
            )
        if settings.get("no-appendfsync-on-rewrite") != "no":
            flaws.append(
                'does not write to its disk while it rewrites its log, for durability="disk": write `no-appendfsync-on-rewrite no`'
            )
        return flaws
