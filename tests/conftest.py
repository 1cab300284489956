from __future__ import annotations

import time
from collections.abc import Generator

import attrs
import hypothesis
import pytest
import trio.testing

# How long an example takes is the machine's affair.
hypothesis.settings.register_profile("suite", deadline=None)
hypothesis.settings.load_profile("suite")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="make the storms long: `make soak` does")


@pytest.fixture(scope="session")
def is_soak(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--soak"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Reports travel between the suite's processes as UTF-8: lone surrogates, which some tests log, are escaped."""
    report = yield
    report.sections = [
        (name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections
    ]
    return report


@attrs.define
class WallClock:
    """The time of day, which `sleep` puts ahead, as a machine's sleep does while its monotonic clock stands."""

    monotonic: trio.testing.MockClock
    ahead: float = 0.0

    def time(self) -> float:
        return 1.7e9 + self.monotonic.current_time() + self.ahead

    def sleep(self, seconds: float) -> None:
        self.ahead += seconds


@pytest.fixture
def wall_clock(autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch) -> WallClock:
    clock = WallClock(autojump_clock)
    monkeypatch.setattr(time, "time", clock.time)
    return clock
