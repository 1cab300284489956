"""Which servers an inbox takes, what is said of those it does not take, and how it finds them."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest
import trio
import trustme

from feishu_trio.errors import InboxError, InboxUnreachable
from feishu_trio.inbox.redis import RedisInbox
from feishu_trio.inbox.redis_replies import read_event
from feishu_trio.inbox.redis_server import Server as RedisServer
from session.rig import come_true

from .proxy import open_proxy
from .servers import Server, free_port, running
from .test_contract import claim, entry, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(autouse=True)
def as_it_was(server: Server) -> Iterator[None]:
    before = {
        name: server.client.config_get(name)[name]
        for name in (
            "maxmemory",
            "maxmemory-policy",
            "appendonly",
            "appendfsync",
            "no-appendfsync-on-rewrite",
            "requirepass",
        )
    }
    yield
    for name, value in before.items():
        server.set(name, value)
    server.client.flushall()


async def works(inbox: RedisInbox) -> None:
    async with serving(inbox):
        await inbox.store([entry("a")])
        assert (await claim(inbox))["a"].attempt == 1


async def refused(inbox: RedisInbox, match: str) -> None:
    with (
        trio.fail_after(10),
        pytest.RaisesGroup(pytest.RaisesExc(InboxError, match=match), flatten_subgroups=True),
    ):
        async with serving(inbox):
            pass


# --- which ------------------------------------------------------------------------------------------------------


async def test_a_server_that_may_evict_is_refused(server: Server) -> None:
    server.set("maxmemory-policy", "allkeys-lru")
    await works(RedisInbox(server.url))  # it never does, without a bound
    server.set("maxmemory", "100mb")
    await refused(
        RedisInbox(server.url),
        "forgets events when its memory is full: write `maxmemory-policy noeviction` in place of allkeys-lru",
    )
    server.set("maxmemory-policy", "noeviction")
    await works(RedisInbox(server.url))


async def test_a_server_that_answers_before_it_writes_is_refused_for_disk(server: Server) -> None:
    inbox = RedisInbox(server.url, durability="disk")
    await refused(inbox, "keeps no log on its disk.*write `appendonly yes` and `appendfsync always`")
    server.set("appendonly", "yes")
    await refused(inbox, "later than it answers.*write `appendfsync always` in place of everysec")
    server.set("appendfsync", "always")
    server.set("no-appendfsync-on-rewrite", "yes")
    await refused(inbox, "while it rewrites its log.*write `no-appendfsync-on-rewrite no`")
    server.set("no-appendfsync-on-rewrite", "no")
    await works(inbox)


async def test_whose_configuration_cannot_be_seen_is_refused_for_disk_alone(server: Server) -> None:
    server.set("appendonly", "yes")
    server.set("appendfsync", "always")
    server.client.execute_command(
        "ACL", "SETUSER", "bot", "on", ">pass", "~{feishu}*", "+@all", "-config", "-script"
    )
    try:
        url = f"redis://bot:pass@{server.address}"
        await works(RedisInbox(url))
        await refused(RedisInbox(url, durability="disk"), "allow its user `CONFIG GET`")
    finally:
        server.client.execute_command("ACL", "DELUSER", "bot")


async def test_a_replica_is_refused(server: Server, tmp_path: Path) -> None:
    with running(tmp_path / "replica", replicaof=f"127.0.0.1 {server.port}") as replica:
        await refused(
            RedisInbox(replica.url),
            f"is a replica of 127.0.0.1:{server.port}: give the address of that one, or remove the line `replicaof`",
        )


async def test_a_database_that_the_server_has_not_is_no_server_to_wait_for(server: Server) -> None:
    await refused(
        RedisInbox(f"{server.url}/99"), f"{server.address} has no database 99: DB index is out of range"
    )


async def test_all_that_is_wrong_is_said_at_once(server: Server) -> None:
    server.set("maxmemory", "100mb")
    server.set("maxmemory-policy", "volatile-ttl")
    await refused(RedisInbox(server.url, durability="disk"), "noeviction.*, and it .*appendonly yes")


@pytest.mark.parametrize(
    ("version", "is_refused"), [("6.2.14", True), ("7.0.0", False), ("7.2.4", False), ("10.1", False)]
)
def test_a_server_older_than_seven_is_refused(version: str, is_refused: bool) -> None:
    flaws = RedisServer._flaws({"redis_version": version, "role": "master"})
    assert flaws == ([f"is Redis {version}, and must be 7.0 or newer, or Valkey"] if is_refused else [])


# --- where ------------------------------------------------------------------------------------------------------


async def test_a_password_is_given_and_never_said(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    server.set("requirepass", "se@cret")
    server.client.auth("se@cret")
    await works(RedisInbox(f"redis://:se%40cret@{server.address}/1"))
    server.client.select(1)
    assert server.client.dbsize() > 3
    server.client.select(0)
    assert server.client.dbsize() == 0
    await refused(RedisInbox(server.url), "refuses the user or password")
    await refused(RedisInbox(server.url), "; the URL has no password: write :PASSWORD@ before the host")
    with pytest.raises(ExceptionGroup) as raised:
        async with serving(RedisInbox(f"redis://u:topsecret@{server.address}")):
            pass
    shown = repr(raised.value.exceptions) + caplog.text
    assert "refuses the user or password" in shown
    assert "secret" not in shown
    assert "has no password" not in shown


async def test_over_tls_the_certificate_is_checked(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    async with open_proxy(server.port, context) as proxy:
        url = f"rediss://localhost:{proxy.port}"
        await refused_once(RedisInbox(url), "certificate verify failed")
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        await works(RedisInbox(url))
        await refused_once(RedisInbox(f"rediss://127.0.0.1:{proxy.port}"), "certificate verify failed")


async def refused_once(inbox: RedisInbox, match: str, error: type[InboxError] = InboxError) -> None:
    with (
        trio.fail_after(10),
        pytest.RaisesGroup(pytest.RaisesExc(error, match=match), flatten_subgroups=True),
    ):
        async with trio.open_nursery() as nursery:
            await nursery.start(
                lambda *, task_status: inbox.serve("cli_a", 60, tries=0, task_status=task_status)
            )


async def test_a_server_that_is_away_is_waited_for_or_given_up_after_so_many_tries(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        server.kill()
        refusal = f"cannot be opened: .*127.0.0.1:{server.port}"
        await refused_once(RedisInbox(server.url), refusal, InboxUnreachable)
        opened = trio.Event()

        async def open_it() -> None:
            async with serving(RedisInbox(server.url)) as inbox:
                opened.set()
                await inbox.store([entry("a")])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(open_it)
            await trio.sleep(0.5)
            assert not opened.is_set()
            await trio.to_thread.run_sync(server.start)
            with trio.fail_after(5):
                await opened.wait()


async def test_waiting_for_a_server_can_be_cancelled() -> None:
    with trio.move_on_after(0.3) as scope:
        async with serving(RedisInbox(f"redis://127.0.0.1:{free_port()}")):
            pass
    assert scope.cancelled_caught


async def test_a_server_that_never_speaks_is_given_up() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        started = trio.current_time()
        url = f"redis://127.0.0.1:{listener.getsockname()[1]}"
        await refused_once(RedisInbox(url), "has not answered within 4 s")
        assert trio.current_time() - started < 5


# --- a cluster --------------------------------------------------------------------------------------------------


async def test_of_a_cluster_the_node_is_found_that_has_the_inbox(tmp_path: Path) -> None:
    bus = [str(free_port()) for _ in range(3)]
    options = {"cluster_enabled": "yes", "cluster_node_timeout": "1000"}
    with (
        running(tmp_path / "one", **options, cluster_port=bus[0]) as one,
        running(tmp_path / "two", **options, cluster_port=bus[1]) as two,
        running(tmp_path / "three", **options, cluster_port=bus[2]) as three,
    ):
        for each, port in ((two, bus[1]), (three, bus[2])):
            one.client.execute_command("CLUSTER", "MEET", "127.0.0.1", each.port, port)
        one.client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 8191)
        two.client.execute_command("CLUSTER", "ADDSLOTSRANGE", 8192, 16_383)
        slot = one.client.execute_command("CLUSTER", "KEYSLOT", "{feishu}")
        has, other = (one, two) if slot < 8192 else (two, one)

        def is_up() -> bool:
            return all(
                b"cluster_state:ok" in each.client.execute_command("CLUSTER", "INFO")
                for each in (one, two, three)
            )

        with trio.fail_after(20):
            await come_true(is_up)
        three.client.execute_command("CLUSTER", "REPLICATE", has.client.execute_command("CLUSTER", "MYID"))
        inbox = RedisInbox(other.url)
        async with serving(inbox):
            await inbox.store([entry("a", "x"), entry("b", "x")])
            inbox.done((await claim(inbox))["a"])
            assert list(await claim(inbox)) == ["b"]
            assert inbox.fault is None
        assert has.client.hget("{feishu}", "app") == b"cli_a"

        assert three.client.info("replication")["role"] == "slave"
        with trio.fail_after(10):
            async with serving(RedisInbox(three.url)) as inbox:
                await inbox.store([entry("c")])
        assert read_event(has.client.get("{feishu}:e:3")).id == "c"


# --- Sentinel ---------------------------------------------------------------------------------------------------


async def test_sentinels_say_where_the_server_is_also_after_a_failover_while_events_arrive(
    tmp_path: Path,
) -> None:
    options = {
        "requirepass": "of-the-server",
        "masterauth": "of-the-server",
        "repl_diskless_sync_delay": "0",  # the replica has all at once
    }
    with (
        running(tmp_path / "one", **options) as one,
        running(tmp_path / "two", replicaof=f"127.0.0.1 {one.port}", **options) as two,
    ):
        sentinel_lines = {
            "requirepass": "of+the+sentinel",
            "sentinel monitor main": f"127.0.0.1 {one.port} 1",
            "sentinel auth-pass main": "of-the-server",
            "sentinel down-after-milliseconds main": "300",
            "sentinel failover-timeout main": "2000",
        }
        with running(tmp_path / "sentinel", "--sentinel", **sentinel_lines) as sentinel:
            hosts = f"redis+sentinel://:of-the-server@127.0.0.1:{free_port()},{sentinel.address}"
            sentinel_password = "?sentinel_user=default&sentinel_password=of+the%2bsentinel"
            await refused_once(RedisInbox(f"{hosts}/none{sentinel_password}"), "knows no 'none'")
            for wrong in ("", sentinel_password + "s"):
                await refused_once(
                    RedisInbox(f"{hosts}/main{wrong}"),
                    f"the Sentinel at {sentinel.address} refuses the user or password",
                )
            with trio.fail_after(10):  # the Sentinel learns of the replica from its primary
                await come_true(lambda: sentinel.client.execute_command("SENTINEL", "REPLICAS", "main"))
            answered: dict[str, float] = {}
            async with serving(RedisInbox(f"{hosts}/main{sentinel_password}")) as inbox:
                await inbox.store([entry("a"), entry("b")])
                claims = await claim(inbox)
                inbox.done(claims["a"])
                await inbox.flush()
                with trio.fail_after(10):  # at first a replica is sent nothing for up to a second
                    await come_true(lambda: two.client.zcard("{feishu}:done") == 1)

                async def arrive() -> None:
                    """As from Feishu, which delivers again what was refused."""
                    for number in count():
                        name = f"e{number}"
                        while name not in answered:
                            with suppress(InboxError):
                                await inbox.store([entry(name)])
                                answered[name] = trio.current_time()
                            await trio.sleep(0.002)

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(arrive)
                    await come_true(lambda: len(answered) > 50)
                    one.kill()
                    killed = trio.current_time()
                    before = len(answered)
                    inbox.done(claims["b"])
                    with trio.fail_after(20):
                        await come_true(lambda: len(answered) > before + 50)
                    nursery.cancel_scope.cancel()
                await inbox.flush()
                assert (await inbox.counts()).done == 2
                assert inbox.fault is None
                known = {each.id for each in await inbox.list("ready", 10_000)}
            assert two.client.info("replication")["role"] == "master"
            lost = answered.keys() - known
            assert all(killed - 0.1 < answered[name] < killed + 0.1 for name in lost), (
                "they were not sent yet"
            )
            assert len(lost) < 20


async def test_over_tls_sentinels_are_asked_and_what_they_name_is_spoken_to(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    async with open_proxy(server.port, context) as proxy:
        lines = {"sentinel monitor main": f"127.0.0.1 {proxy.port} 1"}
        with running(tmp_path / "sentinel", "--sentinel", **lines) as sentinel:
            async with open_proxy(sentinel.port, context) as in_front:
                server.set("requirepass", "secret")
                server.client.auth("secret")
                await works(RedisInbox(f"rediss+sentinel://:secret@127.0.0.1:{in_front.port}/main"))
                assert (in_front.over_tls, proxy.over_tls) == (1, 2)
                await refused_once(
                    RedisInbox(f"rediss+sentinel://:secret@{sentinel.address}/main"), "no Sentinel knows"
                )
