"""What more than one suite runs on, and what the run as a whole prints and does."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import pytest
from rich.console import Console, RenderableType
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

from local import stack
from local.dynamodb_local import UnavailableError, dynamodb_local
from local.engine import Engine, fresh
from order_capture_ops.cli import explain
from tests.deployed.shop import StackClient
from tests.support import coverage, profile, target
from tests.support.absent import absent

Say = Callable[[RenderableType], None]

# Of many processes, which start all the time and are waited for by clients: one of these tests at a time, and
# beside it only what runs in a process or two of its own.
ON_ENGINES = ("tests/browser/", "tests/deployed/", "tests/concurrency/", "tests/sam_local/")
# But not this in full: one request after the other to an engine of its own, however long it takes.
# Of the fast profile it is short, and the other process has more to do.
FUZZ = "tests/deployed/test_fuzz.py"

LEFT_OUT = pytest.StashKey[dict[str, int]]()
"""How many tests of each suite a run leaves out."""


def is_on_engines(nodeid: str) -> bool:
    """Whether a test is one of those of which only one runs at a time."""
    return nodeid.startswith(ON_ENGINES) and (profile.IS_FAST or not nodeid.startswith(FUZZ))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what the profile leaves out, then order the rest.

    First what keeps one process busy to the end, then those modules whose few tests are the longest.
    """
    out = left_out(config, items)
    config.hook.pytest_deselected(items=out)
    config.stash[LEFT_OUT] = dict(Counter(suite_of(item.nodeid) for item in out))
    gone = set(out)
    items[:] = sorted((item for item in items if item not in gone), key=_turn)
    for item in items:
        if suite_of(item.nodeid) not in coverage.SUITES:
            item.add_marker(pytest.mark.no_cover)


def _turn(item: pytest.Item) -> int:
    if is_on_engines(item.nodeid):
        return next(turn for turn, suite in enumerate(ON_ENGINES) if item.nodeid.startswith(suite))
    longest = item.nodeid.startswith((FUZZ, "tests/simulation/"))
    return len(ON_ENGINES) + (0 if longest else 1)


def left_out(config: pytest.Config, items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """What the profile does not run of these. Whoever names tests gets those, and all of them."""
    if profile.NAME == "full" or config.option.keyword or any("::" in argument for argument in config.args):
        return []
    by_test: dict[str, list[pytest.Item]] = {}
    for item in items:
        by_test.setdefault(item.nodeid.partition("[")[0], []).append(item)
    chosen: set[pytest.Item] = set()
    turns = profile.turns_of_day([*by_test])
    for test, of_one in by_test.items():
        if test in turns and of_one[0].get_closest_marker("full") is None:
            number = profile.FAST.parameters if test.startswith(profile.SAMPLED) else len(of_one)
            chosen.update(profile.sample(of_one, number, test))
    if profile.IS_FAST:
        return [item for item in items if item not in chosen]
    return [item for item in items if item in chosen and item.get_closest_marker("proof") is None]


def suite_of(nodeid: str) -> str:
    """The suite of a test, which has the name of its folder."""
    return nodeid.split("/")[1]


def pytest_configure(config: pytest.Config) -> None:
    """Under make, end with it: killed, it passes nothing on. What xdist starts ends with this process."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # So it is in the background of a script; and all that tests start and interrupt would ignore it, too.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if "MAKELEVEL" in os.environ and not hasattr(config, "workerinput"):
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGINT)


def pytest_collection_finish() -> None:
    """What there is by now is there to the end: to look through it for garbage takes a fifth of the time."""
    gc.freeze()


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Where two tests run at a time (`make test`), those of a module stay together, with what they share."""
    return _ByModule(config, log)


class _ByModule(LoadScopeScheduling):  # type: ignore[misc]
    def _split_scope(self, nodeid: str) -> str:
        return "engines" if is_on_engines(nodeid) else nodeid.partition("::")[0]


@pytest.fixture
def say(record_property: Callable[[str, object], None]) -> Say:
    """Have something printed at the end of the run: what was measured, and how much of it."""

    def keep(what: RenderableType) -> None:
        console = Console(width=200)
        with console.capture() as printed:
            console.print(what, highlight=False)
        record_property("printed", printed.get())

    return keep


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """What runs in a process of its own has its counts taken along by pytest-xdist."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = session.config.stash.get(LEFT_OUT, {})


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: WorkerController) -> None:
    """Every process has collected all tests, and left out the same."""
    if counts := getattr(node, "workeroutput", {}).get("left_out"):
        node.config.stash[LEFT_OUT] = counts


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    ran: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) == "setup":
                ran[suite_of(report.nodeid)] += 1
            for name, printed in getattr(report, "user_properties", ()):
                if name == "printed" and report.when == "call":
                    terminalreporter.write(printed)
    if config.option.cov_source and (unreached := coverage.table()):
        console = Console(width=80)
        with console.capture() as drawn:
            console.print(unreached, highlight=False)
        terminalreporter.write(drawn.get())
    if profile.NAME != "full":
        counts: dict[str, int] = config.stash.get(LEFT_OUT, {})
        out = Counter(counts)
        suites = ", ".join(
            f"{suite} {ran[suite]:,} of {ran[suite] + out[suite]:,}" for suite in sorted(ran + out)
        )
        terminalreporter.write_line(f"Profile {profile.NAME} of {profile.DAY}, tests: {suites}")
        terminalreporter.write_line(
            f"The same again: {profile.COMMAND} DAY={profile.DAY}. All of it: make prove"
        )


@pytest.fixture(scope="session")
def dynamodb_local_url() -> Iterator[str]:
    try:
        with dynamodb_local() as url:
            yield url
    except UnavailableError as reason:
        absent(str(reason))


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """One that enforces IAM: every function has what its role allows and nothing more."""
    if target.NAME:
        pytest.skip(f"not on {target.NAME}: it uses the local engine itself")
    with fresh(auth=True) as running:
        yield running


@pytest.fixture(scope="session")
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> StackClient:
    """The real template on it, deployed as an operator does it; for all tests that leave it as it is.

    Or the stack that was named (`make deployed STACK=name`), as it is.
    """
    if target.NAME:
        try:
            return StackClient(target.describe())
        except Exception as error:
            pytest.exit(explain(error), returncode=pytest.ExitCode.USAGE_ERROR)
    engine: Engine = request.getfixturevalue("engine")
    return StackClient(stack.deploy(engine, tmp_path_factory.mktemp("deploy") / "deploy.log"))
