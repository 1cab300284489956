"""Prometheus metrics: what is scraped of a real session is what happened, and every parser reads it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
import trio
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse
from trio.testing import MockClock

from feishu_trio import (
    DisconnectReason,
    Event,
    InboxCounts,
    InboxState,
    MemoryInbox,
    Retry,
    Router,
    Session,
    open_worker,
)
from feishu_trio.metrics import COMMON_LABELS, METRICS, Collector
from feishu_trio.telemetry.counters import ConnectFailure, Counts
from feishu_trio.telemetry.histogram import BUCKETS
from feishu_trio.testing import Gateway, open_gateway
from session.rig import come_true, open_real_session, open_session

DOCS: Final = Path(__file__).parents[1] / "docs"
MESSAGE: Final = "im.message.receive_v1"


class Scrape:
    """The samples of one scrape."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.samples = [sample for family in parse(text) for sample in family.samples]

    def __call__(self, name: str, **labels: str) -> float:
        """The one sample that has these labels."""
        found = self.all(name, **labels)
        assert len(found) == 1, (name, labels, found)
        return found[0]

    def all(self, name: str, **labels: str) -> list[float]:
        return [
            sample.value
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]


def scraped(collector: Collector) -> Scrape:
    registry = CollectorRegistry()
    registry.register(collector)
    return Scrape(generate_latest(registry).decode())


def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool, of Prometheus, is not installed")
    return found


# What is scraped is what happened


async def test_the_numbers_are_those_of_what_happened(autojump_clock: MockClock) -> None:
    router = Router()

    @router.on(MESSAGE, name="echo")
    async def echo(event: Event[Any]) -> None:
        await trio.sleep(0.2)
        await event.reply("hello")

    @router.on("x.failing", name="fails")
    async def fail(event: Event[Any]) -> None:
        raise ValueError

    @router.on("x.later", name="later")
    async def later(event: Event[Any]) -> None:
        raise Retry

    @router.on("x.long", name="long", pool="slow")
    async def long(event: Event[Any]) -> None:
        await trio.sleep(1000)

    async with (
        open_gateway(ladder=()) as gateway,
        open_session(gateway, router=router, pools={"slow": 2}, connections=2) as session,
    ):
        scrape = partial(scraped, Collector(session))
        assert scrape().all("feishu_last_event_timestamp_seconds") == []
        await gateway.wait_connected(2)
        tom = gateway.user("Tom")
        for _ in range(3):
            await (await tom.says("hello")).push.settled()
        for event_type in ("x.failing", "x.later", "x.unknown"):
            await (await gateway.push(event_type, {})).settled()
        for _ in range(3):
            await gateway.push("x.long", {})
        await trio.sleep(1)
        busy = scrape()
        await trio.sleep(2500)
        gateway.refuse_discovery(1, times=1)
        await gateway.drop(connection=gateway.connections[0])
        await trio.sleep(100)
        now = scrape()

    received = partial(now, "feishu_events_received_total")
    assert received(event_type=MESSAGE, app_id=gateway.app_id, role="session") == 3
    assert received(event_type="x.failing") == 1
    answered = partial(now, "feishu_events_answered_total")
    assert (answered(event_type=MESSAGE, code="200"), answered(event_type=MESSAGE, code="500")) == (3, 0)
    assert (answered(event_type="x.failing", code="200"), answered(event_type="x.failing", code="500")) == (
        0,
        1,
    )
    assert now("feishu_answer_duration_seconds_count", event_type=MESSAGE) == 3
    assert now("feishu_answer_duration_seconds_sum", event_type=MESSAGE) == pytest.approx(0.6, abs=0.05)
    buckets = partial(now, "feishu_answer_duration_seconds_bucket", event_type=MESSAGE)
    assert (buckets(le="0.1"), buckets(le="0.25"), buckets(le="60.0"), buckets(le="+Inf")) == (0, 3, 3, 3)
    assert now("feishu_events_handled_total") == 3 + 3 + 1
    assert (now("feishu_events_failed_total"), now("feishu_events_retried_total")) == (1, 1)
    assert (now("feishu_events_unhandled_total"), now("feishu_events_late_total")) == (1, 3)
    assert now("feishu_handler_duration_seconds_count", handler="echo", event_type=MESSAGE) == 3
    assert now("feishu_handler_duration_seconds_bucket", handler="long", le="60.0") == 0
    assert now("feishu_handler_failures_total", handler="fails") == 1
    assert now("feishu_handler_retries_total", handler="later") == 1
    assert now("feishu_queue_wait_seconds_count", pool="slow") == 3

    assert (busy("feishu_pool_running", pool="slow"), busy("feishu_pool_waiting", pool="slow")) == (2, 1)
    assert (busy("feishu_pool_concurrency", pool="slow"), busy("feishu_pool_capacity", pool="slow")) == (
        2,
        1000,
    )
    assert (busy("feishu_pool_running", pool="callbacks"), busy("feishu_events_in_flight")) == (0, 3)
    assert now("feishu_pool_running", pool="slow") == 0

    assert (now("feishu_connections"), now("feishu_connections_wanted"), now("feishu_reconnects_total")) == (
        2,
        2,
        1,
    )
    assert sum(now.all("feishu_disconnects_total")) == 1
    assert now("feishu_disconnects_total", reason=str(DisconnectReason.NO_PONG)) == 0
    assert len(now.all("feishu_disconnects_total")) == len(DisconnectReason)
    assert now("feishu_connect_failures_total", reason="busy") == 1
    assert sum(now.all("feishu_connect_failures_total")) == 1
    assert len(now.all("feishu_connect_failures_total")) == len(ConnectFailure)
    assert now("feishu_heartbeats_total") > 100
    assert now("feishu_heartbeat_round_trip_seconds") == 0
    heard, last = now("feishu_last_heard_timestamp_seconds"), now("feishu_last_event_timestamp_seconds")
    assert last <= heard
    assert now("feishu_api_requests_total", code="0") == 3 + 1
    assert now("feishu_api_request_duration_seconds_count") == 3 + 1
    assert now("feishu_healthy") == 1
    assert now.all("feishu_inbox_events") == []


async def test_what_an_inbox_holds_is_as_old_as_it_says(autojump_clock: MockClock) -> None:
    router = Router()

    @router.on("x.y")
    async def work(event: Event[Any]) -> None:
        await trio.sleep(1000)

    inbox = MemoryInbox()
    async with open_gateway() as gateway, open_session(gateway, router=router, inbox=inbox) as session:
        collector = Collector(session)
        assert scraped(collector).all("feishu_inbox_events") == [], "nobody has asked it"
        await (await gateway.push("x.y", {})).settled()
        await collector.refresh()
        now = scraped(collector)
        assert (now("feishu_inbox_events", state="running"), now("feishu_inbox_events", state="done")) == (
            1,
            0,
        )
        assert len(now.all("feishu_inbox_events")) == len(InboxState)
        assert now("feishu_events_stored_total") == 1
        assert 0 <= now("feishu_inbox_oldest_age_seconds") < 60
        assert now("feishu_inbox_counts_age_seconds") == 0
        await trio.sleep(2000)
        assert scraped(collector)("feishu_inbox_counts_age_seconds") == 2000
        await collector.refresh()
        assert scraped(collector)("feishu_inbox_events", state="done") == 1
        assert scraped(collector)("feishu_inbox_oldest_age_seconds") == 0


async def test_an_inbox_that_does_not_answer_keeps_its_last_numbers(autojump_clock: MockClock) -> None:
    class Stuck(MemoryInbox):
        patience = 0.0

        async def counts(self) -> InboxCounts:
            await trio.sleep(self.patience)
            return await super().counts()

    inbox = Stuck()
    async with open_gateway() as gateway, open_session(gateway, router=Router(), inbox=inbox) as session:
        collector = Collector(session)
        await collector.refresh()
        inbox.patience = 1000
        await trio.sleep(10)
        await collector.refresh(timeout=0.5)
        assert scraped(collector)("feishu_inbox_counts_age_seconds") == 10.5
        assert scraped(collector)("feishu_inbox_events", state="ready") == 0


async def test_every_counter_is_scraped(autojump_clock: MockClock) -> None:
    """A counter that is new shall not be forgotten here; two are scraped by event type."""
    async with open_gateway() as gateway, open_session(gateway) as session:
        counters = session._telemetry.counters
        names = [field.name for field in attrs.fields(Counts)]
        for number, name in enumerate(names, 1_000_001):
            setattr(counters, name, number)
        counters.by_type["x"].received, counters.by_type["x"].answered = counters.received, counters.answered
        now = scraped(Collector(session))
    values = [sample.value for sample in now.samples]
    assert [name for number, name in enumerate(names, 1_000_001) if values.count(number) != 1] == []


async def test_stuck_handlers_and_who_waits_behind_them_are_scraped(autojump_clock: MockClock) -> None:
    router = Router()

    @router.on("a.b", order_by=lambda event: "key", name="hangs")
    async def hangs(event: Event[Any]) -> None:
        await trio.sleep_forever()

    async with open_gateway() as gateway, open_session(gateway, router=router, shutdown_timeout=1) as session:
        for _ in range(2):
            await gateway.push("a.b")
        await trio.sleep(59)
        collector = Collector(session)
        assert scraped(collector)("feishu_order_keys_held_up") == 0
        assert not [sample for sample in scraped(collector).samples if sample.name == "feishu_handler_stuck"]
        await trio.sleep(11)
        now = scraped(collector)
        assert now("feishu_handler_stuck", handler="hangs") == 1
        assert 60 <= now("feishu_handler_stuck_oldest_seconds", handler="hangs") <= 70
        assert now("feishu_order_keys_held_up") == 1
        assert now("feishu_healthy") == 1, "it fills no pool"


# Whatever comes off the wire


async def test_hostile_event_types_are_bounded_and_readable(autojump_clock: MockClock) -> None:
    async with open_gateway() as gateway, open_session(gateway) as session:
        counters = session._telemetry.counters
        for hostile in ('a"}\nb\\', "\ud800", "ü\x00\u2028", "", "x" * 100_000):
            counters.by_type[hostile].received += 1
        for number in range(300):
            counters.by_type[f"type-{number}"].received += 1
            counters.by_handler["h", f"type-{number}"].time.observe(1.0)
            counters.api_requests[str(number)].count += 1
        collector = Collector(session)
        now = scraped(collector)
        registry = CollectorRegistry()
        registry.register(collector)
        openmetrics = generate_openmetrics(registry).decode()  # type: ignore[no-untyped-call]
    assert now("feishu_events_received_total", event_type='a"}\nb\\') == 1
    for name in (
        "feishu_events_received_total",
        "feishu_handler_duration_seconds_count",
        "feishu_api_requests_total",
    ):
        assert 256 <= len(now.all(name)) <= 257
    assert now("feishu_api_requests_total", code="(others)") == 300 - 256
    families = list(parse_openmetrics(openmetrics))  # type: ignore[no-untyped-call]
    assert len(families) == len(METRICS) + 1


# Formats


async def exposed() -> str:
    """All metrics, each with samples."""
    router = Router()

    @router.on(MESSAGE)
    async def echo(event: Event[Any]) -> None:
        await event.reply("hello")

    inbox = MemoryInbox()
    async with open_gateway() as gateway, open_session(gateway, router=router, inbox=inbox) as session:
        tom = gateway.user("Tom")
        await tom.says("hello")
        await tom.waits_for("hello")
        await come_true(lambda: session.stats().by_handler)
        session._telemetry.pong_received("1", 0.1, None, 30.0)
        collector = Collector(session)
        await collector.refresh()
        return scraped(collector).text


async def test_the_text_format_holds_every_metric() -> None:
    families = {family.name: family for family in parse(await exposed())}
    for metric in METRICS:
        family = families[metric.name.removesuffix("_total")]
        assert (family.type, family.documentation) == (metric.kind, metric.help)
        assert family.samples, metric.name
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == {*COMMON_LABELS, *metric.labels}
        if metric.kind == "histogram":
            bounds = {float(sample.labels["le"]) for sample in family.samples if "le" in sample.labels}
            assert bounds == {*BUCKETS, float("inf")}
    assert len(families) == len(METRICS) + 1
    build = families["feishu_build_info"].samples[0]
    assert (build.value, set(build.labels)) == (1, {"version", "python", "trio"})


async def test_prometheus_own_linter_finds_nothing() -> None:
    done = await trio.run_process(
        [promtool(), "check", "metrics"],
        stdin=(await exposed()).encode(),
        capture_stdout=True,
        capture_stderr=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


# Several services, registries, threads


async def test_services_are_told_apart(autojump_clock: MockClock) -> None:
    inbox = MemoryInbox()
    async with (
        open_gateway() as gateway,
        open_session(gateway) as one,
        open_session(gateway) as other,
        open_worker(
            inbox, Router(), app_id=gateway.app_id, app_secret=gateway.app_secret, domain=gateway.domain
        ) as worker,
    ):
        collector = Collector(one, worker, second=other)
        now = scraped(collector)
        assert [now("feishu_healthy", role=role) for role in ("session", "worker", "second")] == [1, 1, 1]
        assert now.all("feishu_connections", role="worker") == [], "it has none"
        assert collector.services == (one, worker, other)
        with pytest.raises(ValueError, match="as 'second' already; name another role"):
            collector.add(one, "second")
        collector.remove(other)
        assert scraped(collector).all("feishu_healthy", role="second") == []


async def test_a_registry_takes_one(autojump_clock: MockClock) -> None:
    registry = CollectorRegistry()
    registry.register(Collector())
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        registry.register(Collector())


async def test_it_is_scraped_from_another_thread_too(feishu_gateway: Gateway) -> None:
    registry = CollectorRegistry()
    async with open_real_session(feishu_gateway, router=Router(), inbox=MemoryInbox()) as session:
        registry.register(Collector(session))
        server, thread = start_http_server(0, "127.0.0.1", registry)
        with trio.fail_after(10):
            stream = await trio.open_tcp_stream("127.0.0.1", server.server_port)
            async with stream:
                await stream.send_all(b"GET /metrics HTTP/1.0\r\n\r\n")
                text = b"".join([part async for part in stream]).decode()
        server.shutdown()
        server.server_close()
        thread.join()
    now = Scrape(text.partition("\r\n\r\n")[2])
    assert now("feishu_healthy") == 1
    assert now("feishu_inbox_events", state="ready") == 0, "the inbox was asked"


def test_once_its_loop_has_ended_it_tells_of_no_service() -> None:
    made = list[Collector]()

    async def main() -> None:
        async with open_gateway() as gateway, open_real_session(gateway) as session:
            made.append(Collector(session))

    trio.run(main)
    now = scraped(made[0])
    assert now.all("feishu_healthy") == []
    assert now.all("feishu_build_info") == [1]


def test_without_the_extra_it_says_which_one() -> None:
    code = "import sys; sys.modules['prometheus_client'] = None; import feishu_trio.metrics"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert "feishu_trio.metrics needs prometheus-client, which is not installed" in run.stderr
    assert run.stderr.strip().endswith("pip install 'feishu-trio[metrics]'")


# The page, and the dashboard

PAGE: Final = (DOCS / "metrics.md").read_text(encoding="utf-8")
DASHBOARD: Final = json.loads((DOCS / "grafana" / "feishu_trio.json").read_text(encoding="utf-8"))


def test_the_page_has_every_metric_as_it_is() -> None:
    rows = re.findall(r"^\| `(feishu_\w+)` \| (\w+) \|(.*)\|(.*)\| (.*) \|$", PAGE, re.MULTILINE)
    (build, kind, _, labels, _), *others = rows
    assert (build, kind, labels.strip()) == ("feishu_build_info", "gauge", "`version`, `python`, `trio`")
    assert [
        (name, kind, unit.strip(), labels.strip(), text) for name, kind, unit, labels, text in others
    ] == [
        (
            metric.name,
            metric.kind,
            metric.unit,
            ", ".join(f"`{label}`" for label in metric.labels),
            metric.help,
        )
        for metric in METRICS
    ]


def test_the_page_names_the_bounds_of_histograms() -> None:
    named = re.findall(r"have the bounds (.*?) seconds", PAGE, re.DOTALL)[0]
    assert [float(bound) for bound in re.findall(r"\d[\d.]*", named)] == list(BUCKETS)


def test_the_page_names_metrics_that_there_are() -> None:
    assert set(re.findall(r"\bfeishu_(?!trio)\w+", PAGE)) <= samples().keys()


async def test_the_pages_blocks_run(autojump_clock: MockClock) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    for number, block in enumerate(blocks, 1):
        exec(compile(block, f"metrics.md, block {number}", "exec"), names)
    assert len(blocks) == 3
    async with open_gateway() as gateway, open_session(gateway) as session:
        assert isinstance(session, Session)
        assert b'role="receiver"' in generate_latest(names["metrics_of"](session))


def samples() -> dict[str, set[str]]:
    """The names of all samples, with their labels."""
    found = {"feishu_build_info": {"version", "python", "trio"}}
    for metric in METRICS:
        labels = {*COMMON_LABELS, *metric.labels}
        if metric.kind == "histogram":
            found |= {f"{metric.name}_{end}": labels for end in ("sum", "count")}
            found[f"{metric.name}_bucket"] = labels | {"le"}
        else:
            found[metric.name] = labels
    return found | {metric.name: {*COMMON_LABELS, *metric.labels} for metric in METRICS}


def panels() -> Iterator[dict[str, Any]]:
    yield from (panel for panel in DASHBOARD["panels"] if panel["type"] != "row")


def expressions() -> list[str]:
    """What the dashboard asks Prometheus for, with values in the place of its variables."""
    asked = [target["expr"] for panel in panels() for target in panel["targets"]]
    return [re.sub(r"\$(app_id|role)", ".*", each).replace("$__rate_interval", "5m") for each in asked]


def test_the_dashboard_asks_for_metrics_and_labels_that_there_are() -> None:
    known = samples()
    assert len(expressions()) > 30
    for expression in expressions():
        selectors = re.findall(r"(feishu_\w+)\{([^}]*)\}", expression)
        assert selectors, expression
        assert len(selectors) == expression.count("feishu_")
        for name, matchers in selectors:
            assert name in known, name
            used = set(re.findall(r"(\w+)\s*(?:=~|!=|=)", matchers))
            by = {
                label.strip()
                for each in re.findall(r"by \(([^)]*)\)", expression)
                for label in each.split(",")
            }
            assert used | by <= known[name] | {"instance"}, expression
    queries = [variable["query"] for variable in DASHBOARD["templating"]["list"][1:]]
    assert all(re.findall(r"feishu_\w+", query) == ["feishu_healthy"] for query in queries)


def test_the_dashboards_expressions_are_promql(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{number}", "expr": each} for number, each in enumerate(expressions())]
    file = tmp_path / "rules.json"  # JSON is YAML, too
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run(
        [promtool(), "check", "rules", str(file)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules)} rules found" in done.stdout


def lost(before: Any, after: Any, path: str = "$") -> Iterator[str]:
    """Where the one has what the other has not."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name, value in before.items():
            yield from lost(value, after[name], f"{path}.{name}") if name in after else [f"{path}.{name}"]
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from lost(one, other, f"{path}[{number}]")
    elif before != after:
        yield f"{path}: {before!r} became {after!r}"


def through_the_schema(dashboard: dict[str, Any]) -> list[str]:
    """What Grafana's own types do not know of a dashboard."""
    read = Dashboard.from_json(dashboard)
    return list(lost(dashboard, json.loads(json.dumps(read, cls=JSONEncoder))))


def test_the_dashboard_is_one_by_grafanas_own_types() -> None:
    assert through_the_schema(DASHBOARD) == []
    wrong = json.loads(json.dumps(DASHBOARD))
    wrong["panels"][0]["fieldConfigs"] = wrong["templating"]["list"][0]["lable"] = {}
    assert sorted(through_the_schema(wrong)) == ["$.panels[0].fieldConfigs", "$.templating.list[0].lable"]


def test_the_dashboards_panels_stand_side_by_side() -> None:
    places = [(panel["id"], panel["gridPos"]) for panel in DASHBOARD["panels"]]
    assert len({number for number, _ in places}) == len(places)
    taken = set[tuple[int, int]]()
    for _, place in places:
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells
