"""Each state of docs/when-it-goes-wrong.md, brought about, and what an operator sees in it."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import trio

from feishu_trio.testing import open_gateway
from inbox.proxy import open_proxy
from inbox.servers import running as redis_running

from .rig import USER_JOINED, Scene, logged, probed, type_line

CONNECTION = ("feishu_connections", "feishu_healthy", "feishu_last_heard_timestamp_seconds")


async def well(scene: Scene) -> None:
    gateway = await scene.gateway()
    bot = await scene.bot()
    await type_line(gateway, "hello")
    await gateway.line_with("answered in")
    scene.sees(
        probed(await bot.readyz()),
        await scene.metrics(
            bot,
            "feishu_healthy",
            "feishu_connections",
            "feishu_connections_wanted",
            "feishu_events_received_total",
            "feishu_events_handled_total",
            "feishu_last_event_timestamp_seconds",
            "feishu_last_heard_timestamp_seconds",
            'feishu_pool_running{pool="default"',
            "feishu_loop_blocked_total",
        ),
        await scene.doctor("all"),
        logged(await bot.log("at http:", "connected: ")),
    )


async def killed(scene: Scene) -> None:
    args = ("run", "bot:router", "--inbox", "sqlite:bot.db")
    gateway = await scene.gateway()
    bot = await scene.service(*args)
    await type_line(gateway, "work")
    await gateway.line_with("at work")
    bot.process.kill()
    assert await bot.process.wait() == -signal.SIGKILL
    scene.sees(probed(await bot.readyz()), await scene.doctor())

    bot = await scene.service(*args)
    running = 'feishu_inbox_events{state="running"'
    await bot.metrics_with('state="running"} 1.0')
    before = await scene.metrics(bot, running)
    await gateway.line_with("done")
    await bot.metrics_with('state="done"} 1.0')
    scene.sees(
        probed(await bot.readyz()),
        before,
        "later\n"
        + await scene.metrics(
            bot,
            running,
            'feishu_inbox_events{state="done"',
            "feishu_events_handled_total",
        ),
        logged(await bot.log("an event was running")),
    )


async def drained(scene: Scene) -> None:
    gateway = await scene.gateway()
    bot = await scene.bot()
    await type_line(gateway, "work")
    await gateway.line_with("at work")
    bot.process.terminate()
    readyz = await bot.readyz_with("503 ")
    metrics = await scene.metrics(
        bot,
        "feishu_healthy",
        "feishu_connections",
        'feishu_pool_running{pool="default"',
        "feishu_events_in_flight",
    )
    assert bot.process.poll() is None, "it did not wait for its handler"
    doctor = await scene.doctor()
    await gateway.line_with("answered in")
    log = logged(await bot.log("closing: ", "connection "))
    scene.sees(probed(readyz), metrics, doctor, log, f"exit code\n{await bot.process.wait()}")


async def away(scene: Scene) -> None:
    scene.sets(reconnect_delay=0.5, max_reconnect_delay=0.5)
    gateway = await scene.gateway()
    bot = await scene.bot()
    await bot.hears_a_pong()
    gateway.process.kill()
    await gateway.process.wait()
    scene.sees(
        probed(await bot.readyz_with("refused")),
        await scene.metrics(bot, *CONNECTION, 'feishu_disconnects_total{reason="end of file"'),
        await scene.doctor(),
        logged(await bot.log("connection ", "the connection was lost: ", ".*refused")),
    )
    port = urlsplit(scene.env["FEISHU_DOMAIN"]).port
    assert port is not None
    await scene.gateway(port=port)
    scene.sees(
        probed(await bot.readyz_with("200 ")),
        await scene.metrics(bot, "feishu_connections", "feishu_healthy", "feishu_reconnects_total"),
    )


async def half_open(scene: Scene) -> None:
    """The connection is dead, and nobody said so: others can be opened."""
    scene.sets(heartbeat_interval=1, pong_timeout=1.5)
    await scene.gateway()
    proxy = await scene.enter(open_proxy(_port(scene)))
    scene.sets(domain=f"http://127.0.0.1:{proxy.port}")
    bot = await scene.bot()
    await bot.hears_a_pong()
    proxy.forget()
    at_first = [probed(await bot.readyz()), await scene.metrics(bot, *CONNECTION)]

    async def examine() -> None:
        scene.sees(*at_first, await scene.doctor())

    async with trio.open_nursery() as nursery:  # what comes next does not wait for the doctor
        nursery.start_soon(examine)
        doubted = [probed(await bot.readyz_with("overdue")), await scene.metrics(bot, *CONNECTION)]
    scene.sees(*doubted)
    log = await bot.log("connected", "connection ", "the connection was lost: ", "connected: ")
    scene.sees(
        probed(await bot.readyz_with("200 ")),
        await scene.metrics(
            bot, *CONNECTION, 'feishu_disconnects_total{reason="no pong"', "feishu_reconnects_total"
        ),
        logged(log.partition("\n")[2]),
    )


async def black_hole(scene: Scene) -> None:
    """Whatever is sent, nothing comes back."""
    scene.sets(heartbeat_interval=1, pong_timeout=0.6, connect_timeout=1, reconnect_delay=0.1)
    await scene.gateway()
    proxy = await scene.enter(open_proxy(_port(scene)))
    scene.sets(domain=f"http://127.0.0.1:{proxy.port}")
    bot = await scene.bot()
    await bot.hears_a_pong()
    proxy.stall()
    scene.sees(
        probed(await bot.readyz_with("did not answer")),
        await scene.metrics(bot, *CONNECTION, 'feishu_disconnects_total{reason="no pong"'),
        await scene.doctor(),
        logged(await bot.log("the connection was lost: ", "no connection within ")),
    )


async def no_events(scene: Scene) -> None:
    """Pongs come, and no events: Feishu sends them elsewhere."""
    gateway = await scene.enter(open_gateway())
    event = {"subscription_type": "webhook", "subscribed_events": ["im.message.receive_v1"]}
    gateway.respond(
        "/open-apis/application/v6/applications/*", {"code": 0, "data": {"app": {"event": event}}}
    )
    scene.sets(domain=gateway.domain, app_id=gateway.app_id, app_secret=gateway.app_secret)
    bot = await scene.bot()
    await bot.hears_a_pong()
    scene.sees(
        probed(await bot.readyz()),
        await scene.metrics(
            bot, *CONNECTION, "feishu_last_event_timestamp_seconds", "feishu_events_received_total"
        ),
        await scene.doctor(),
    )


async def several(scene: Scene) -> None:
    """Another process of the same app takes its share."""
    gateway = await scene.gateway()
    bots = [await scene.bot(), await scene.bot()]
    metrics = list[str]()
    with trio.fail_after(15):
        while not all("received" in each for each in metrics) or not metrics:
            await type_line(gateway, "hello")
            await gateway.line_with("answered in")
            metrics = [
                await scene.metrics(bot, "feishu_connections", "feishu_events_received_total") for bot in bots
            ]
    scene.sees(
        probed(await bots[0].readyz()),
        metrics[0],
        f"of the other process\n{metrics[1]}",
        await scene.doctor("connections"),
    )


async def stuck(scene: Scene) -> None:
    scene.sets(stuck_after=1, concurrency=2)
    gateway = await scene.gateway()
    bot = await scene.bot()
    await type_line(gateway, USER_JOINED)
    names = (
        "feishu_healthy",
        "feishu_handler_stuck",
        "feishu_handler_stuck_oldest_seconds",
        'feishu_pool_running{pool="default"',
        'feishu_pool_concurrency{pool="default"',
    )
    log = await bot.log("stuck: ")
    scene.sees(
        probed(await bot.readyz_with("welcome")),
        await scene.metrics(bot, *names),
        await scene.doctor(),
        logged(log),
    )
    await type_line(gateway, USER_JOINED)
    scene.sees(probed(await bot.readyz_with("503 ")), await scene.metrics(bot, *names))


async def blocked(scene: Scene) -> None:
    gateway = await scene.gateway()
    bot = await scene.bot()
    await type_line(gateway, "block")
    await gateway.line_with("block")
    await trio.sleep(0.3)
    readyz = await bot.readyz()
    doctor = await scene.doctor()
    log = (await bot.log("the event loop stood still")).split("\n")
    scene.sees(
        probed(readyz),
        f"later\n{probed(await bot.readyz_with('200 '))}",
        await scene.metrics(bot, "feishu_loop_blocked_total"),
        doctor,
        logged("\n".join([*log[:2], "  …"])),
    )


async def inbox_away(scene: Scene) -> None:
    """The server of the inbox has stopped."""
    await scene.gateway()
    with redis_running(Path.cwd() / "redis") as server:
        url = f"redis://127.0.0.1:{server.port}"
        worker = await scene.service("worker", "bot:router", "--inbox", url)
        server.kill()
        scene.sees(
            probed(await worker.readyz_with("cannot be reached")),
            await scene.metrics(
                worker, "feishu_healthy", "feishu_inbox_oldest_age_seconds", "feishu_inbox_counts_age_seconds"
            ),
            await scene.doctor(),
            await scene.command("inbox", "stats", "--inbox", url),
            logged(await worker.log(".*has no link")),
        )
        server.start()
        scene.sees(
            probed(await worker.readyz_with("200 ")), logged(await worker.log(".*can be written to again"))
        )


STATES: Final[dict[str, Callable[[Scene], Awaitable[None]]]] = {
    "All is well": well,
    "Killed": killed,
    "Drained": drained,
    "Feishu is away": away,
    "Half-open: the connection is dead, and nobody said so": half_open,
    "A black hole: nothing comes back": black_hole,
    "Connected, and no events": no_events,
    "Another process takes its share": several,
    "A handler is stuck": stuck,
    "A handler blocks the loop": blocked,
    "The inbox is away": inbox_away,
}
"""By the headings of the page."""


def _port(scene: Scene) -> int:
    port = urlsplit(scene.env["FEISHU_DOMAIN"]).port
    assert port is not None
    return port
