"""`make load`: many clients order concurrently; each order is followed to its end, the books are audited."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from benchmarks.load import html
from benchmarks.load.generator import Load, chosen_mixes
from benchmarks.load.report import print_table
from benchmarks.load.run import FOLDER, PATIENCE, OnStep, Options, measure
from benchmarks.load.targets import Target
from benchmarks.load.traffic import HOT_UNITS, MIXES
from local.engine import require_free
from order_capture_ops.cli import FAILED, Parser, console, errors, integer_between, port, run
from order_capture_ops.errors import UsageError

MAX_USERS = 500  # fits one Locust process on one core
MAX_SECONDS = 1_800  # the token is valid for an hour
MAX_ORDERS = 100_000  # at AWS's prices some three dollars
MAX_RATE = 5_000.0
MAX_UNITS = 1_000_000
MAX_PATIENCE = 3_600
PAGE_SECONDS = 3_000.0  # as long as the token is valid
DEFAULT_PAGE_PORT = 8089  # Locust's own


def main(arguments: list[str] | None = None) -> int:
    """Run the requested load; 1 if the target broke a promise."""
    parser = Parser(
        prog="make load",
        description=__doc__,
        example="make load MIX=hot USERS=8 SECONDS=20",
        epilog=f"Mixes: {'; '.join(f'{name}: {what}' for name, what in MIXES.items())}.",
    )
    parser.add_argument("--mix", type=_mixes, default=tuple(MIXES), help='the mixes to run: "hot keyed"')
    parser.add_argument(
        "--users", type=integer_between(1, MAX_USERS), default=8, help="concurrent clients (default: 8)"
    )
    parser.add_argument(
        "--seconds",
        type=integer_between(1, MAX_SECONDS),
        default=20,
        help="duration of the load (default: 20)",
    )
    parser.add_argument("--rate", type=_rate, help="at most N orders or batches started per second")
    parser.add_argument(
        "--orders", type=integer_between(1, MAX_ORDERS), default=20_000, help="at most (default: 20000)"
    )
    parser.add_argument(
        "--units",
        type=integer_between(1, MAX_UNITS),
        default=HOT_UNITS,
        help="units of the hot product (default: 20)",
    )
    parser.add_argument(
        "--patience",
        type=integer_between(1, MAX_PATIENCE),
        default=int(PATIENCE),
        help="seconds after the load within which all orders must end (default: 120)",
    )
    parser.add_argument("--stack", metavar="NAME", help="a stack on AWS (default: the local engine's)")
    parser.add_argument("--url", help="a server on this machine instead, such as http://127.0.0.1:8080")
    parser.add_argument("--web", action="store_true", help="start and stop the load on Locust's own page")
    parser.add_argument(
        "--web-port", type=port, default=DEFAULT_PAGE_PORT, help="port of Locust's page (default: 8089)"
    )
    parser.add_argument("--no-audit", action="store_true", help="skip the audit of a stack's tables")
    parser.add_argument("--html", type=Path, default=FOLDER / "report.html", help="the report's file")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    if options.stack and options.url:
        parser.error("either STACK or URL, and not both")
    return run(lambda: _load(options))


def _mixes(text: str) -> tuple[str, ...]:
    try:
        return chosen_mixes(text.replace(",", " ").split())
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _rate(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < (rate := float(text)) <= MAX_RATE:
            return rate
    raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0, up to {MAX_RATE:,.0f}")


def _load(options: argparse.Namespace) -> int:
    target = Target.at(options.url) if options.url else Target.find(options.stack)
    load = Load(options.mix, options.users, options.seconds, options.rate, options.orders)
    path: Path = options.html.absolute()
    if path.is_dir():
        raise UsageError(
            f"HTML (--html): {options.html} is a folder; name a file, such as {options.html}/report.html"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    locust_html = path.with_name(f"{path.stem}-locust.html")
    locust_html.unlink(missing_ok=True)
    if options.web:
        require_free(options.web_port)
        errors.print(f"Locust's page: http://127.0.0.1:{options.web_port}")
        errors.print(
            "Start and stop the load there. Ctrl-C here closes the page; then the orders are followed."
        )
    settings = Options(
        patience=options.patience,
        hot_units=options.units,
        audits_tables=not options.no_audit,
        page=options.web_port if options.web else None,
        page_seconds=PAGE_SECONDS,
        locust_html=locust_html,
    )
    with _progress() as on_step:
        report = measure(target, load, settings, on_step)
    html.write(report, path, locust_html if locust_html.exists() else None)
    if options.json:
        sys.stdout.write(json.dumps(report.json()) + "\n")
    else:
        print_table(report, console)
        console.print(f"  Plots: {escape(_shown(path))}")
    return 0 if report.is_right else FAILED


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


@contextlib.contextmanager
def _progress() -> Iterator[OnStep]:
    """Show each step with a bar on a terminal; elsewhere print one line when it begins."""
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), TimeElapsedColumn())
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bars:
        task: TaskID | None = None
        current, started = "", time.monotonic()

        def on_step(step: str, done: float, total: float) -> None:
            nonlocal task, current, started
            name = step.partition(":")[0]
            if name != current:
                if not errors.is_terminal:
                    errors.print(f"{time.monotonic() - started:6.1f} s  {name}")
                if task is not None:
                    bars.remove_task(task)
                task, current = bars.add_task(step), name
            assert task is not None
            bars.update(task, description=step, completed=done, total=total or None)

        yield on_step


if __name__ == "__main__":
    sys.exit(main())
