"""`make dev`: hot reload. The local stack's functions run this checkout's code as soon as it is saved."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import py_compile
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import watchfiles
from botocore.exceptions import BotoCoreError, ClientError
from rich.markup import escape

from local import engine
from local.console import console
from local.dev_imports import FUNCTIONS, LAYER, reached
from local.engine import Engine
from local.engine_checkout import PACKAGE, Code, Replace, replacing
from local.lock import exclusive
from order_capture.entrypoints.invocations import SMOKE_TEST
from order_capture.entrypoints.releases import fault_in
from order_capture_ops import cli
from order_capture_ops.errors import CommandError
from order_capture_ops.stack import Stack, find

_DEPLOYED = ("template.yaml", "swagger.yaml", "dashboard.yaml", "samconfig.toml")
_DEPENDENCIES = (
    "layers/dependencies",
    "layers/tokens",
    "requirements/functions.txt",
    "requirements/tokens.txt",
)
_PAGE = "console"

_ALIAS = "live"  # as in template.yaml

# Editors write a file in several steps, a few milliseconds apart; later changes are the next reload.
_QUIET_MS, _AT_MOST_MS = 50, 400
_LOOK_MS = 500  # between checks that the engine still runs
_NAMED = 3  # functions or files listed in a line; more are counted


@dataclass(frozen=True)
class Fault:
    """A file with a syntax error."""

    path: str
    line: int
    text: str


@dataclass(frozen=True)
class Reload:
    """The result of a change: the functions with new code, or the faults that prevented a reload."""

    changed: frozenset[str]
    functions: frozenset[str] = frozenset()
    faults: tuple[Fault, ...] = ()
    is_first: bool = False


_is_source = watchfiles.DefaultFilter()


Stamps = dict[str, tuple[int, int]]
"""Each file's last change, in nanoseconds, and its size, by its path in the checkout."""


def _stamps(root: Path, tops: Iterable[str]) -> Stamps:
    """Stamps of files and folders, except files of editors, caches and package managers."""
    found: Stamps = {}
    for top in tops:
        within = [root / top] if (root / top).is_file() else []
        for folder, folders, names in os.walk(root / top):
            folders[:] = [each for each in folders if _is_source(watchfiles.Change.added, each)]
            paths = (Path(folder, name) for name in names)
            within += [each for each in paths if _is_source(watchfiles.Change.added, str(each))]
        for path in within:
            with contextlib.suppress(FileNotFoundError):  # deleted a moment ago
                status = path.stat()
                found[path.relative_to(root).as_posix()] = status.st_mtime_ns, status.st_size
    return found


def _changed(before: Stamps, now: Stamps) -> frozenset[str]:
    return frozenset(name for name in now.keys() | before.keys() if now.get(name) != before.get(name))


class Checkout:
    """The functions and our layer in a checkout; each valid state is copied for the engine.

    A function keeps the copy that it was started with: it loads some of its modules later, and these must be
    of the same state. All copies share unchanged files.
    """

    def __init__(self, root: Path, copies: Path) -> None:
        """For the checkout at `root`, copied to `copies`."""
        self._root, self._copies = root, copies
        shutil.rmtree(copies, ignore_errors=True)  # of an earlier `make dev`
        self._taken: Stamps = {}
        self._revision = 0
        self.codes: dict[str, Code] = {}
        """The code that each function runs, by the name of its folder."""

    def reload(self) -> Reload:
        """Copy the current state, if it has changed and all of it compiles."""
        now = _stamps(self._root, (FUNCTIONS, LAYER))
        changed = _changed(self._taken, now)
        if not changed:
            return Reload(changed)
        copy = self._copies / str(self._revision + 1)
        try:
            taken = [self._take(name, copy, is_new=name in changed) for name in sorted(now)]
        except FileNotFoundError:  # deleted a moment ago: this is the next change
            shutil.rmtree(copy)
            return Reload(frozenset())
        if faults := tuple(each for each in taken if each):
            shutil.rmtree(copy)
            return Reload(changed, faults=faults)
        functions = {Path(name).parts[1] for name in now if re.fullmatch(rf"{FUNCTIONS}\w+/app\.py", name)}
        sources = {
            name: (copy / _place(name)).read_text(encoding="utf-8") for name in now if name.endswith(".py")
        }
        new = frozenset(reached(changed, sources) & functions)
        self._taken, self._revision = now, self._revision + 1
        layer = str(copy / "layer")
        for name in new:
            self.codes[name] = Code(self._revision, str(copy / FUNCTIONS / name), layer)
        return Reload(changed, new, is_first=self._revision == 1)

    def _take(self, name: str, copy: Path, *, is_new: bool) -> Fault | None:
        there = copy / _place(name)
        there.parent.mkdir(parents=True, exist_ok=True)
        is_python = name.endswith(".py")
        if not is_new:
            before = self._copies / str(self._revision) / _place(name)
            os.link(before, there)
            if is_python:
                compiled = Path(importlib.util.cache_from_source(str(there)))
                compiled.parent.mkdir(exist_ok=True)
                os.link(importlib.util.cache_from_source(str(before)), compiled)
            return None
        shutil.copyfile(self._root / name, there)
        return _compile(there, name) if is_python else None


def _place(name: str) -> str:
    """A file's place in a copy: our package as in a layer."""
    return f"layer/{PACKAGE}/{name.removeprefix(LAYER)}" if name.startswith(LAYER) else name


def _compile(path: Path, name: str) -> Fault | None:
    """Compile a module, so that the functions' processes need not."""
    try:
        py_compile.compile(
            str(path),
            dfile=name,
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
    except py_compile.PyCompileError as error:
        wrong = error.exc_value
        line = (wrong.lineno or 1) if isinstance(wrong, SyntaxError) else 1
        return Fault(name, line, str(getattr(wrong, "msg", wrong)))
    return None


def functions_of(stack: Stack) -> dict[str, str]:
    """The functions' deployed names, by the names of their folders."""
    return {
        re.sub(r"(?<!^)(?=[A-Z])", "_", output.removesuffix("FunctionName")).lower(): name
        for output, name in stack.outputs.items()
        if output.endswith("FunctionName")
    }


def follow(
    root: Path,
    running: Engine,
    functions: Mapping[str, str],
    stop: threading.Event,
    report: Callable[[Reload, float], None],
    every_look: Callable[[], None] = lambda: None,
) -> None:
    """Reload the functions from a checkout, until `stop` is set or the engine has ended.

    Args:
        root: the checkout.
        running: the engine.
        functions: the functions' deployed names, by the names of their folders.
        stop: ends it.
        report: is called with each reload and its duration in seconds.
        every_look: is called each half second, and after each change.
    """
    checkout = Checkout(root, running.home / "tmp/dev")
    with replacing(running.home) as replace:
        _reload(checkout, functions, replace, report)
        for changes in watchfiles.watch(
            root / FUNCTIONS,
            root / LAYER,
            step=_QUIET_MS,
            debounce=_AT_MOST_MS,
            rust_timeout=_LOOK_MS,
            yield_on_timeout=True,
            stop_event=stop,
        ):
            if not running.is_running():
                return
            if changes:
                _reload(checkout, functions, replace, report)
            every_look()


def _reload(
    checkout: Checkout,
    functions: Mapping[str, str],
    replace: Replace,
    report: Callable[[Reload, float], None],
) -> None:
    started = time.monotonic()
    reload = checkout.reload()
    if reload.functions:
        replace({functions[name]: code for name, code in checkout.codes.items() if name in functions})
    if reload.changed:
        report(reload, time.monotonic() - started)


# ---------------------------------------------------------------- command
class Others:
    """Files that are not reloaded: they need a deployment, or are the console's page, which is built."""

    def __init__(self, root: Path) -> None:
        """For this checkout in its current state."""
        self._root = root
        self._seen = self._look()
        self._building: subprocess.Popen[bytes] | None = None
        self._is_page_old = False

    def look(self) -> None:
        """Report changes since the last call, and build the page."""
        now = self._look()
        changed = _changed(self._seen, now)
        self._seen = now
        page = {path for path in changed if path.startswith(f"{_PAGE}/")}
        for path in sorted(changed - page):
            console.print(
                f"[yellow]![/] {path} needs a deployment: `./deploy.sh --env local`, or `make run`",
                soft_wrap=True,
            )
        self._is_page_old |= bool(page)
        if self._building and (code := self._building.poll()) is not None:
            if code != 0:
                console.print("[red]✗[/] The console's page stays as it was: `make console` shows why")
            self._building = None
        if self._is_page_old and not self._building:
            self._is_page_old = False
            # Its output in functions/console is then reloaded like any other change. Without this process's
            # MAKEFLAGS it does not wait for the make that started this process.
            self._building = subprocess.Popen(
                ["make", "--silent", "console"],
                cwd=self._root,
                env={name: value for name, value in os.environ.items() if name != "MAKEFLAGS"},
                stdin=subprocess.DEVNULL,
            )

    def _look(self) -> Stamps:
        return _stamps(self._root, (*_DEPLOYED, *_DEPENDENCIES, _PAGE))


class SmokeTests:
    """Calls functions with new code, one at a time, with the event of a release's smoke test.

    So a failing import shows at once, not with the next order.
    """

    def __init__(self, client: Any, functions: Mapping[str, str]) -> None:
        """With a Lambda client, and the functions' deployed names."""
        self._lambda, self._functions = client, functions
        self._waiting: set[str] = set()
        self._wanted = threading.Condition()
        threading.Thread(target=self._run, daemon=True).start()

    def of(self, names: Collection[str]) -> None:
        """Schedule calls of these."""
        with self._wanted:
            self._waiting |= names & self._functions.keys()
            self._wanted.notify()

    def _run(self) -> None:
        while True:
            with self._wanted:
                self._wanted.wait_for(lambda: self._waiting)
                name = self._waiting.pop()
            with contextlib.suppress(BotoCoreError, ClientError):  # the engine has ended, or is restarting
                response = self._lambda.invoke(
                    FunctionName=self._functions[name],
                    Qualifier=_ALIAS,
                    Payload=json.dumps(SMOKE_TEST).encode(),
                )
                answer = json.load(response["Payload"])
                if fault_in(response.get("FunctionError"), answer):
                    reason = answer.get("errorMessage", "") if isinstance(answer, dict) else ""
                    reason = re.sub(rf"/\S*/\d+/layer/{PACKAGE}/", LAYER, reason or str(answer))
                    console.print(f"[red]✗[/] {name} fails: {escape(reason)}", soft_wrap=True)


def main(arguments: list[str] | None = None) -> int:
    """`python -m local.dev`."""
    parser = cli.Parser(prog="make dev", description=__doc__, example="make dev")
    parser.parse_args(arguments)
    return cli.run(_dev)


def _dev() -> int:
    running = engine.find()
    if running is None:
        raise CommandError(
            "No engine runs in this checkout: start it with `make run`, then `make dev` beside it."
        )
    if running.is_outdated():
        raise CommandError("The engine has been updated since it was started: `make run` starts it again.")
    stack = find(None)
    functions = functions_of(stack)
    stop = threading.Event()
    parent = os.getppid()

    def look() -> None:
        others.look()
        if os.getppid() != parent:  # the parent process has ended
            stop.set()

    with exclusive("dev", wait=False):
        others = Others(engine.ROOT)
        smoke_tests = SmokeTests(stack.client("lambda"), functions)

        def report(reload: Reload, seconds: float) -> None:
            _print(reload, seconds)
            if not reload.is_first:
                smoke_tests.of(reload.functions)

        console.print(
            f"Watching {FUNCTIONS} and {LAYER} for the engine at {running.url}, until Ctrl-C", soft_wrap=True
        )
        try:
            follow(engine.ROOT, running, functions, stop, report, look)
        except KeyboardInterrupt:
            console.print("\nStopped. The functions run what was deployed last.")
            return 0
    console.print("The engine has ended: `make run` starts it again.")
    return 1


def _print(reload: Reload, seconds: float) -> None:
    """Print one line for a reload, or one for each fault."""
    for fault in reload.faults:
        console.print(
            f"[red]✗[/] {fault.path}:{fault.line}: {escape(fault.text)}. Functions keep the code they have",
            soft_wrap=True,
        )
    if reload.faults:
        return
    console.print(
        f"[green]✓[/] {_listed(reload.functions, 'functions')} [dim]{_listed(reload.changed, 'files')},"
        f" {seconds:.2f} s[/]",
        soft_wrap=True,
    )


def _listed(names: Collection[str], what: str) -> str:
    if not names:
        return f"no {what}"
    return f"{len(names)} {what}" if len(names) > _NAMED else ", ".join(sorted(names))


if __name__ == "__main__":
    sys.exit(main())
