"""What `python -m benchmarks` stands on: a gateway that speaks TLS as it speaks without, and READMEs that get its figures."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from pathlib import Path

import pytest
from benchmarks import answers
from benchmarks.clients import CLIENTS
from benchmarks.frames import SHAPES
from benchmarks.gateway import Gateway, attend
from benchmarks.readme import PAGES, with_figures
from benchmarks.results import Results, Sample
from benchmarks.scenarios import exchange
from benchmarks.tls import TLSSocket, serving

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["ours", "bare", "channel"])
def test_a_client_trusts_the_gateway_and_answers_over_tls(name: str) -> None:
    shape, numbers = SHAPES["10 kB in 3 parts"], range(200)
    with Gateway(tls=True) as gateway, CLIENTS[name].start(gateway) as client:
        assert gateway.domain.startswith("https://")
        attend([client.connection], 0)
        exchange(client.connection, shape.batch(numbers), shape.size, 64)
        answers.check(client.connection.take_transcript(), numbers, shape)
        assert client.connection.is_alive(3)


def test_what_a_socket_does_not_take_is_held_and_sent_before_anything_else(tmp_path: Path) -> None:
    authorities = tmp_path / "authorities.pem"
    served, trusting = serving("127.0.0.1", authorities), ssl.create_default_context(cafile=authorities)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    is_full = threading.Event()
    received = bytearray()

    def read() -> None:
        with trusting.wrap_socket(theirs, server_hostname="127.0.0.1") as client:
            is_full.wait(10)
            while data := client.recv(65536):
                received.extend(data)

    reader = threading.Thread(target=read)
    reader.start()
    sock, sent = TLSSocket(ours, served), bytearray()
    while not sock.holds:
        part = bytes([len(sent) % 251]) * 60_000
        sent += part[: sock.send(part, socket.MSG_DONTWAIT)]
    with pytest.raises(BlockingIOError):
        sock.send(b"too early", socket.MSG_DONTWAIT)
    is_full.set()
    sock.sendall(b"the end")
    assert not sock.holds
    sock.close()
    reader.join(10)
    assert received == sent + b"the end"


@pytest.mark.parametrize("name", PAGES)
def test_a_page_gets_the_figures_over_tls_and_keeps_its_words(name: str) -> None:
    numbers = {"ours": 100.0, "lark": 20.0, "node": 125.0}
    rows = (
        ("Throughput", "1 kB, window 64", "events/s"),
        ("Throughput", "1 kB, window 512", "events/s"),
        ("Throughput", "1 kB, window 1", "events/s"),
        ("Throughput", "10 kB, window 64", "events/s"),
        ("Latency", "1,000 events/s", "p50 µs"),
        ("Latency", "1,000 events/s", "p99 µs"),
        ("Latency", "1,000 events/s", "p99.9 µs"),
        ("Start", "one process", "import ms"),
    )
    samples = [
        Sample(*row, client, value if tls else 1.0, tls)
        for row in rows
        for client, value in numbers.items()
        for tls in (True, False)
    ]
    results = Results({}, {}, samples).over(tls=True)
    before = (ROOT / name).read_text(encoding="utf-8")
    page = with_figures(name, before, results)
    faster, slower = [" 5.0× ", " **0.80×** "], [" **5.0×** ", " 0.80× "]
    assert [row[1:] for row in ratios(page)] == [faster] * 4 + [slower] * 4
    assert [row[0] for row in ratios(page)] == [row[0] for row in ratios(before)]
    assert page.partition("benchmarks.svg")[0] == before.partition("benchmarks.svg")[0]
    assert after_ratios(page) == after_ratios(before)
    assert with_figures(name, page, results) == page


def test_pages_show_what_was_measured_and_of_what() -> None:
    latest = Results.read(ROOT / "benchmarks" / "results" / "latest.json")
    assert latest.to_markdown() == (ROOT / "benchmarks" / "results" / "latest.md").read_text(encoding="utf-8")
    for name in PAGES:
        page = (ROOT / name).read_text(encoding="utf-8")
        assert with_figures(name, page, latest.over(tls=True)) == page


def ratios(page: str) -> list[list[str]]:
    """The cells of each row that has some."""
    return [line.split("|")[1:-1] for line in page.splitlines() if line.startswith("|") and "×" in line]


def after_ratios(page: str) -> str:
    """What stands behind the last of them."""
    return re.split(r"^\|.*×.*\|$", page, flags=re.MULTILINE)[-1]
