"""What more than one suite runs on, and what the run as a whole says and does."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import pytest
from rich.console import Console, RenderableType
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from local.dynamodb_local import UnavailableError, dynamodb_local
from tests.support.absent import absent

Say = Callable[[RenderableType], None]

# Of many processes, which start anew all the time and are waited for by clients: nothing runs beside them.
ALONE = ("tests/browser/", "tests/concurrency/", "tests/deployed/", "tests/sam_local/")
# But not this: one request after the other to an engine of its own, and nobody minds if it takes longer.
FUZZ = "tests/deployed/test_fuzz.py"


def is_alone(nodeid: str) -> bool:
    """Whether nothing is to run beside a test."""
    return nodeid.startswith(ALONE) and not nodeid.startswith(FUZZ)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """First those modules whose few tests are the longest, and last what is to run alone."""
    longest = (FUZZ, "tests/simulation/")
    items.sort(key=lambda item: (is_alone(item.nodeid), not item.nodeid.startswith(longest)))


def pytest_collection_finish() -> None:
    """What there is by now is there to the end: to look through it for garbage takes a fifth of the time."""
    gc.freeze()


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Where two tests run at a time (`make test`), those of a module stay together, with what they share."""
    return _ByModule(config, log)


class _ByModule(LoadScopeScheduling):  # type: ignore[misc]
    def _split_scope(self, nodeid: str) -> str:
        return "alone" if is_alone(nodeid) else nodeid.partition("::")[0]


@pytest.fixture
def say(record_property: Callable[[str, object], None]) -> Say:
    """Have something printed at the end of the run: what was measured, and how much of it."""

    def keep(what: RenderableType) -> None:
        console = Console(width=200)
        with console.capture() as printed:
            console.print(what, highlight=False)
        record_property("said", printed.get())

    return keep


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, said in getattr(report, "user_properties", ()):
                if name == "said" and report.when == "call":
                    terminalreporter.write(said)


@pytest.fixture(scope="session")
def dynamodb_local_url() -> Iterator[str]:
    try:
        with dynamodb_local() as url:
            yield url
    except UnavailableError as reason:
        absent(str(reason))
