"""Spans of handlers' runs and of requests to Feishu, as OpenTelemetry's SDK sees them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest
import trio
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from trio.testing import MockClock

from feishu_trio import ApiError, Event, MemoryInbox, Retry, Router
from feishu_trio.otel import tracing
from feishu_trio.testing import open_gateway
from session.rig import come_true, open_session
from telemetry.test_telemetry import event as event_of


class Tracing:
    """A router whose handlers are traced, and what became of that."""

    def __init__(self, **options: Any) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.router = Router()
        self.router.middleware(tracing(provider=self.provider, **options))

    def spans(self, kind: SpanKind = SpanKind.CONSUMER) -> list[ReadableSpan]:
        return [span for span in self._exporter.get_finished_spans() if span.kind is kind]


def facts(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


@pytest.fixture
def traced() -> Tracing:
    return Tracing()


async def test_a_run_is_a_consumer_span_by_the_conventions(
    autojump_clock: MockClock, traced: Tracing
) -> None:
    @traced.router.on("contact.user.created_v3", name="sync")
    async def sync(event: Event[Any]) -> None:
        assert trace.get_current_span().get_span_context().is_valid

    async with open_gateway() as gateway, open_session(gateway, router=traced.router):
        await (await gateway.push("contact.user.created_v3", {"object": {}})).settled()
    (span,) = traced.spans()
    assert span.name == "process contact.user.created_v3"
    assert span.parent is None
    assert span.status.status_code is StatusCode.UNSET
    attributes = facts(span)
    assert attributes.pop("messaging.message.id")
    assert attributes.pop("messaging.message.body.size") > 50
    assert attributes.pop("feishu.trace_id")
    assert attributes == {
        "messaging.system": "feishu",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "contact.user.created_v3",
        "feishu.app_id": gateway.app_id,
        "feishu.handler": "sync",
        "feishu.attempt": 1,
        "feishu.redelivered": False,
        "feishu.outcome": "ok",
    }


class OutOfStock(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "outcome", "error_type"),
    [
        (OutOfStock("none left"), "failed", "test_otel.OutOfStock"),
        (ValueError("no"), "failed", "ValueError"),
        (Retry(5, "later"), "retry", None),
        (ExceptionGroup("", [Retry()]), "retry", None),
    ],
)
async def test_how_a_run_ended(
    autojump_clock: MockClock, traced: Tracing, error: Exception, outcome: str, error_type: str | None
) -> None:
    @traced.router.on("x.y")
    async def fail(event: Event[Any]) -> None:
        raise error

    async with open_gateway(ladder=()) as gateway, open_session(gateway, router=traced.router):
        await (await gateway.push("x.y", {})).settled()
    (span,) = traced.spans()
    assert (facts(span)["feishu.outcome"], facts(span).get("error.type")) == (outcome, error_type)
    assert (span.status.status_code is StatusCode.ERROR) == (outcome == "failed")
    recorded = [event.attributes or {} for event in span.events if event.name == "exception"]
    assert [each["exception.message"] for each in recorded] == ([str(error)] if error_type else [])


async def test_a_run_that_is_cancelled_ends_its_span(autojump_clock: MockClock, traced: Tracing) -> None:
    @traced.router.on("x.y", timeout=2)
    async def wait(event: Event[Any]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)

    async with open_gateway(ladder=()) as gateway, open_session(gateway, router=traced.router):
        await (await gateway.push("x.y", {})).settled()
    (span,) = traced.spans()
    assert (facts(span)["feishu.outcome"], facts(span)["error.type"]) == ("cancelled", "cancelled")
    assert span.status.status_code is StatusCode.ERROR


@pytest.mark.parametrize("with_inbox", [False, True])
async def test_runs_after_one_that_failed_are_linked_to_the_first(
    autojump_clock: MockClock, traced: Tracing, with_inbox: bool
) -> None:
    runs = 0

    @traced.router.on("x.y", name="third time")
    async def work(event: Event[Any]) -> None:
        nonlocal runs
        runs += 1
        if runs < 3:
            raise OutOfStock

    @traced.router.on("x.y", name="other")
    async def other(event: Event[Any]) -> None:
        pass

    inbox = MemoryInbox() if with_inbox else None
    async with open_gateway() as gateway, open_session(gateway, router=traced.router, inbox=inbox):
        await (await gateway.push("x.y", {})).settled()
        await come_true(lambda: runs == 3)
    spans = [span for span in traced.spans() if facts(span)["feishu.handler"] == "third time"]
    first, second, third = spans
    assert [[link.context for link in span.links] for span in spans] == [[], [first.context], [first.context]]
    assert len({span.context.trace_id for span in spans if span.context}) == 3
    assert facts(third)["feishu.redelivered"] is not with_inbox
    assert [facts(span)["feishu.attempt"] for span in spans] == ([1, 2, 3] if with_inbox else [1, 1, 1])
    assert second.status.status_code is StatusCode.ERROR
    assert len(traced.spans()) == 4, "the other handler ran once"


async def test_what_is_remembered_of_failures_is_bounded() -> None:
    traced = Tracing()
    (middleware,) = traced.router._middleware

    async def fail(event: Event[Any]) -> None:
        raise OutOfStock

    for number in range(1100):
        with pytest.raises(OutOfStock):
            await middleware(event_of(f"e{number}", f"type-{number}"), fail)
    remembered: Any = middleware
    assert len(remembered._first) == 1024
    names = {span.name for span in traced.spans()}
    assert len(names) == 257
    assert "process" in names


async def test_a_batch_is_one_span(autojump_clock: MockClock, traced: Tracing) -> None:
    @traced.router.on_batch("x.y", max_size=3, max_wait=60)
    async def count(events: Sequence[Event[Any]]) -> None: ...

    async with open_gateway() as gateway, open_session(gateway, router=traced.router):
        pushes = [await gateway.push("x.y", {}) for _ in range(3)]
        await pushes[0].settled()
    (span,) = traced.spans()
    assert span.name == "process x.y"
    assert facts(span)["messaging.batch.message_count"] == 3
    assert "messaging.message.id" not in facts(span)


# Requests to Feishu


async def test_requests_are_client_spans_in_their_handlers(
    autojump_clock: MockClock, traced: Tracing
) -> None:
    @traced.router.on("im.message.receive_v1")
    async def answer(event: Event[Any]) -> None:
        await event.reply("hello")

    async with open_gateway() as gateway, open_session(gateway, router=traced.router):
        tom = gateway.user("Tom")
        said = await tom.says("hello")
        await said.push.settled()
    (run,) = traced.spans()
    token, reply = traced.spans(SpanKind.CLIENT)
    assert token.name == "POST /open-apis/auth/v3/tenant_access_token/internal"
    assert reply.name == "POST /open-apis/im/v1/messages/{id}/reply"
    for span in (token, reply):
        assert run.context is not None
        assert span.parent is not None
        assert span.parent.span_id == run.context.span_id
        attributes = facts(span)
        assert attributes["http.request.method"] == "POST"
        assert attributes["server.address"] == "127.0.0.1"
        assert attributes["http.response.status_code"] == 200
        assert "error.type" not in attributes


async def test_requests_that_fail_and_are_tried_again(autojump_clock: MockClock, traced: Tracing) -> None:
    @traced.router.on("x.y")
    async def call(event: Event[Any]) -> None:
        with pytest.raises(ApiError):
            await event.api.request("GET", "/open-apis/contact/v3/users/tom?secret=1")

    async with open_gateway() as gateway, open_session(gateway, router=traced.router):
        gateway.refuse_calls("GET */users/tom", 99991400, status=429, times=1)
        gateway.refuse_calls("GET */users/tom", 41012)
        await (await gateway.push("x.y", {})).settled()
    _, first, second = traced.spans(SpanKind.CLIENT)
    for span, code, status in ((first, "99991400", 429), (second, "41012", 400)):
        assert span.name == "GET /open-apis/contact/v3/users/{id}"
        assert span.status.status_code is StatusCode.ERROR
        assert (facts(span)["error.type"], facts(span)["http.response.status_code"]) == (code, status)
        assert facts(span)["feishu.log_id"]
    assert facts(first).get("http.request.resend_count") is None
    assert facts(second)["http.request.resend_count"] == 1


async def test_no_secret_and_no_persons_id_is_in_a_span(autojump_clock: MockClock, traced: Tracing) -> None:
    @traced.router.on("im.message.receive_v1")
    async def call(event: Event[Any]) -> None:
        with pytest.raises(ApiError):
            await event.api.request(
                "POST", "/open-apis/x/v1/y/tom_x?token=T0ken", params={"key": "K3y"}, json={"a": "B0dy"}
            )

    async with open_gateway() as gateway, open_session(gateway, router=traced.router):
        await (await gateway.user("Tom").says("S3cret words")).push.settled()
        said = " ".join(span.to_json() for kind in SpanKind for span in traced.spans(kind))
    for secret in (gateway.app_secret, "Bearer", "t-", "T0ken", "K3y", "B0dy", "tom_x", "S3cret"):
        assert secret not in said, secret


async def test_an_exception_in_a_span_is_bounded_and_without_secrets(
    autojump_clock: MockClock, traced: Tracing
) -> None:
    async with open_gateway() as gateway:

        @traced.router.on("im.message.receive_v1")
        async def fails(event: Event[Any]) -> None:
            raise ValueError(f"{gateway.app_secret} token=T0ken {'x' * 100_000}")

        async with open_session(gateway, router=traced.router):
            assert (await (await gateway.user("Tom").says("hi")).push.answer()).code == 500
    (span,) = traced.spans(SpanKind.CONSUMER)
    (told,) = span.events
    assert (told.name, (told.attributes or {})["exception.type"]) == ("exception", "ValueError")
    assert "*** token=*** xxx" in str((told.attributes or {})["exception.message"])
    assert "in fails" in str((told.attributes or {})["exception.stacktrace"])
    said = span.to_json()
    assert len(said) < 40_000
    assert gateway.app_secret not in said
    assert "T0ken" not in said


async def test_requests_may_be_left_out(autojump_clock: MockClock) -> None:
    traced = Tracing(calls=False)

    @traced.router.on("im.message.receive_v1")
    async def answer(event: Event[Any]) -> None:
        await event.reply("hello")

    async with open_gateway() as gateway, open_session(gateway, router=traced.router):
        await (await gateway.user("Tom").says("hello")).push.settled()
    assert len(traced.spans()) == 1
    assert traced.spans(SpanKind.CLIENT) == []


async def test_threads_and_tasks_of_a_handler_are_in_its_span(traced: Tracing) -> None:
    @traced.router.on("x.y")
    def work(event: Event[Any]) -> None:
        trio.from_thread.run(event.api.send, "oc_1", "hello")

    async with open_gateway() as gateway, open_session(gateway, router=traced.router):
        with trio.fail_after(10):
            await (await gateway.push("x.y", {})).settled()
    (run,) = traced.spans()
    requests = traced.spans(SpanKind.CLIENT)
    assert requests
    assert {span.parent and span.parent.span_id for span in requests} == {run.context and run.context.span_id}


def test_without_the_extra_it_says_which_one() -> None:
    code = "import sys; sys.modules['opentelemetry'] = None; import feishu_trio.otel"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert "feishu_trio.otel needs opentelemetry-api, which is not installed" in run.stderr
    assert run.stderr.strip().endswith("pip install 'feishu-trio[otel]'")
