"""Fixtures shared by several suites, and the hooks of the whole run."""

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

# These start many processes, for which clients wait: one of these tests at a time, and
# beside it only tests with a process or two.
ON_ENGINES = ("tests/browser/", "tests/deployed/", "tests/concurrency/", "tests/sam_local/")
# But not this one in full: it sends serial requests to its own engine, and may take any time.
# In the fast profile it is short, and the other process has more to do.
FUZZ = "tests/deployed/test_fuzz.py"

LEFT_OUT = pytest.StashKey[dict[str, int]]()
"""The number of tests of each suite that a run leaves out."""


def is_on_engines(nodeid: str) -> bool:
    """Whether a test is one of those that run one at a time."""
    return nodeid.startswith(ON_ENGINES) and (profile.IS_FAST or not nodeid.startswith(FUZZ))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what the profile leaves out, then order the rest.

    First what keeps one process busy to the end, then the modules with few, long tests.
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
    """The tests that the profile leaves out. Explicitly named tests all run."""
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
    """Under make, end with it: a killed make sends no signal. xdist's processes end with this one."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # SIGINT is ignored in a script's background jobs, and would be by all processes that tests interrupt.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if "MAKELEVEL" in os.environ and not hasattr(config, "workerinput"):
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGINT)


def pytest_collection_finish() -> None:
    """Freeze the existing objects, which live to the end: collecting them takes a fifth of the time."""
    gc.freeze()


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """With two tests at a time (`make test`), keep a module's tests together, with their shared fixtures."""
    return _ByModule(config, log)


class _ByModule(LoadScopeScheduling):  # type: ignore[misc]
    def _split_scope(self, nodeid: str) -> str:
        return "engines" if is_on_engines(nodeid) else nodeid.partition("::")[0]


@pytest.fixture
def say(record_property: Callable[[str, object], None]) -> Say:
    """Print something at the end of the run, such as measurements."""

    def keep(what: RenderableType) -> None:
        console = Console(width=200)
        with console.capture() as printed:
            console.print(what, highlight=False)
        record_property("printed", printed.get())

    return keep


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Pass the counts of a worker process on to pytest-xdist."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = session.config.stash.get(LEFT_OUT, {})


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: WorkerController) -> None:
    """Take the counts of one process: all collected the same tests, and left out the same."""
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
    """An engine that enforces IAM: every function can do only what its role allows."""
    if target.NAME:
        pytest.skip(f"not on {target.NAME}: it uses the local engine itself")
    with fresh(auth=True) as running:
        yield running


@pytest.fixture(scope="session")
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> StackClient:
    """The real template on it, deployed as by an operator; for all tests that do not change the stack.

    Or the named stack (`make deployed STACK=name`).
    """
    if target.NAME:
        try:
            return StackClient(target.describe())
        except Exception as error:
            pytest.exit(explain(error), returncode=pytest.ExitCode.USAGE_ERROR)
    engine: Engine = request.getfixturevalue("engine")
    return StackClient(stack.deploy(engine, tmp_path_factory.mktemp("deploy") / "deploy.log"))
