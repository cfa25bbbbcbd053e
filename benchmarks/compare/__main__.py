"""`make compare`: the event-driven design and a monolith, under the same load, at sizes that no laptop has.

The real functions run in virtual time on the model of AWS of `make flash-sale`. The monolith is a model too,
with constants measured by `make traditional MEASURE=1`. With --live both also run on this machine, and
the model of the monolith is checked against the real one.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from benchmarks.compare import live, monolith, plots, scenarios, validation
from benchmarks.compare.scenarios import Loads, Report
from benchmarks.flash_sale.__main__ import LAST_SEED
from order_capture_ops.cli import Parser, console, errors, integer_between, run
from tests.support.template import ROOT

MAX_PROCESSES = 2  # what a laptop can spare; the results do not depend on it
WIDTH = 80
SHOWN = 5  # broken promises


def main(arguments: list[str] | None = None) -> int:
    """Compare; 1 if a decision was wrong, or with --live the model deviates too far from the monolith."""
    parser = Parser(
        prog="make compare",
        description=__doc__,
        example="make compare QUICK=1",
        epilog="Fails if an answer is wrong (oversold, lost, an invariant broken); with --live also if the "
        "model of the monolith is too far from the monolith itself.",
    )
    parser.add_argument("--quick", action="store_true", help="shorter loads, with the same verdicts")
    parser.add_argument(
        "--seed",
        type=integer_between(0, LAST_SEED),
        default=1,
        help="seed for customers and latencies",
    )
    parser.add_argument("--set", default="", help='constants of the monolith: "db_cpu_ms=0.3 client_s=5"')
    parser.add_argument("--constants", action="store_true", help="list them, with their sources")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--live", action="store_true", help="run both designs here as well, and compare them with the model"
    )
    parser.add_argument("--plots", action="store_true", help="write the plots for the documentation")
    options = parser.parse_args(arguments)
    return run(lambda: _main(options))


def _main(options: argparse.Namespace) -> int:
    constants = monolith.constants_from(options.set)
    if options.constants:
        _list_constants(constants)
        return 0
    sizes = scenarios.sizes_of(quick=options.quick)
    if options.live:
        live.available()
    report = compare(sizes, constants, options.seed)
    found = run_live(constants, options.seed) if options.live else None
    if options.json:
        of_this_machine = {} if found is None else {"live": found.json()}
        sys.stdout.write(json.dumps({**report.as_json(), **of_this_machine}) + "\n")
    else:
        print_report(report)
        if found is not None:
            print_live(found)
    if options.plots:
        for path in plots.draw(report):
            errors.print(f"Drawn: {path.relative_to(ROOT)}")
    for reason in report.broken[:SHOWN]:
        errors.print(f"[red]✗[/] {escape(reason)}")
    return int(bool(report.broken) or (found is not None and not found.is_right))


def compare(sizes: scenarios.Sizes, constants: monolith.Constants, seed: int) -> Report:
    """Run all scenarios, and show the progress."""
    loads = Loads.of(sizes, seed)
    todo, found, started = scenarios.jobs(loads, seed), dict[str, Any](), time.monotonic()
    processes = min(MAX_PROCESSES, os.cpu_count() or 1)
    with errors.status("Playing …") if errors.is_terminal else _Quiet() as status:
        for job, result in scenarios.run_all(todo, processes):
            found[job.name] = result
            seconds = time.monotonic() - started
            errors.print(f"[green]✓[/] {job.name} [dim]({len(found)} of {len(todo)}, {seconds:.0f} s)[/]")
            status.update(f"Playing {', '.join(each.name for each in todo if each.name not in found)}")
        status.update("The monolith")
        return scenarios.report(found, loads, sizes, constants, seed)


@dataclass(frozen=True)
class Live:
    """The results of both designs on this machine."""

    validated: Sequence[validation.Compared]
    compared: Sequence[live.Comparison]

    @property
    def is_right(self) -> bool:
        """Whether both kept the books, and the model of the monolith agrees with the monolith."""
        return all(each.agrees for each in self.validated) and all(each.is_right for each in self.compared)

    def json(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "model": [asdict(each) | {"ratio": each.ratio, "agrees": each.agrees} for each in self.validated],
            "designs": [each.json() for each in self.compared],
        }


def run_live(constants: monolith.Constants, seed: int) -> Live:
    """Run the monolith beside its model, then both designs in turns."""
    with errors.status("Running both here …") if errors.is_terminal else _Quiet() as status:
        validated = validation.compare(constants, seed, lambda what: status.update(f"The monolith: {what}"))
        errors.print("[green]✓[/] the monolith, and its model")
        compared = live.measure(
            on_step=lambda what, done, total: status.update(f"{what} ({done} of {total})")
        )
    return Live(validated, compared)


class _Quiet:
    """Shows no transient progress without a terminal."""

    def __enter__(self) -> _Quiet:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def update(self, text: str) -> None:
        """Ignore the current step."""


# ----------------------------------------------------------------------------------------------------- output
def print_report(report: Report) -> None:
    """Print tables of 80 columns, and a line for each verdict."""
    figures = report.figures
    _print(_steady(figures["steady"]))
    _print_line("–: not played, too many orders for a laptop. *: above 60 % of one database's capacity.")
    _print(_limits(figures))
    used_up = ", ".join(f"{name} {rate:,}/s" for name, rate in figures["limits"].items())
    _print_line(
        f"Serverless limits are used up at: {used_up}. {scenarios.OURS} is the template's, "
        "the others are AWS's."
    )
    for name, title in (
        ("burst", f"A burst: {figures['burst']['base']}/s, then {figures['burst']['peak']:,}/s"),
        ("hot", f"One product, {figures['hot']['rate']:,}/s"),
        ("slow", "Credit takes 2 s"),
        ("away", "Credit is down for 5 minutes"),
    ):
        _print(_outcomes(title, figures[name]))
    _print(_vertical(figures["vertical"]))
    _print(_alternatives(figures["alternatives"]))
    _print_break_even(figures["break_even"])
    for verdict in report.verdicts:
        _print_line(f"{verdict.scenario}: {verdict.winner.upper()}. {verdict.text}.")


def _print(table: Table) -> None:
    console.print(table, width=WIDTH)


def _print_line(text: str) -> None:
    console.print(textwrap.fill(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False), markup=False)


def _table(title: str, *columns: str) -> Table:
    """The first column has names, the others figures."""
    table = Table(box=box.SIMPLE, title=title, title_justify="left", title_style="bold", pad_edge=False)
    table.padding = 0, 1, 0, 0
    for column in columns:
        table.add_column(column, justify="right" if table.columns else "left", overflow="fold")
    return table


def _steady(rows: list[Mapping[str, Any]]) -> Table:
    table = _table("A steady load: ms until answered and decided, and dollars a million orders", "orders/s")
    for column in ("serverless answered p99", "decided p50", "p99", "$"):
        table.add_column(column, justify="right")
    for column in ("monolith decided p50", "p99", "$"):
        table.add_column(column, justify="right")
    for row in rows:
        of_functions, of_servers = row["serverless"], row["monolith"]
        table.add_row(
            f"{row['rate']:,}",
            *(_whole_ms(of_functions.get(figure)) for figure in ("answer_p99", "decided_p50", "decided_p99")),
            f"{of_functions['dollars_per_million']:,.2f}",
            *(_whole_ms(of_servers[figure]) for figure in ("decided_p50", "decided_p99")),
            f"{of_servers['dollars_per_million']:,.2f}" + ("" if of_servers["fits"] else " *"),
        )
    return table


def _limits(figures: Mapping[str, Any]) -> Table:
    table = _table("First limit reached: serverless by default, a monolith of that size")
    for column in ("orders/s", "serverless", "", "monolith", ""):
        table.add_column(column, justify="left" if column in ("serverless", "monolith") else "right")
    for row in figures["steady"]:
        name, share = max(row["serverless"]["limits"].items(), key=lambda each: each[1])
        of_servers = row["monolith"]
        table.add_row(
            f"{row['rate']:,}",
            name,
            f"{share:.0%}",
            f"{of_servers['first_limit']}, {of_servers['database'].removeprefix('db.')}",
            f"{of_servers['limits'][of_servers['first_limit']]:.0%}",
        )
    return table


def _outcomes(title: str, of: Mapping[str, Any]) -> Table:
    orders = of["serverless"]["requested"]
    table = _table(f"{title}: {orders:,} orders")
    table.add_column("", no_wrap=True)
    for column in ("taken", "503", "gone", "answer p50", "p99", "decided p50", "p99", "all by"):
        table.add_column(column, justify="right")
    for name, each in of.items():
        if isinstance(each, Mapping) and "accepted" in each:
            table.add_row(
                name if name in ("serverless", "monolith") else f" {name}",
                f"{each['accepted'] / each['requested']:.0%}",
                *(f"{each[figure]:,}" for figure in ("refused", "timed_out")),
                *(
                    _short(each[figure])
                    for figure in ("answer_p50", "answer_p99", "decided_p50", "decided_p99")
                ),
                _short(each["decided_all_at"]),
            )
    return table


def _vertical(rows: list[Mapping[str, Any]]) -> Table:
    table = _table("The monolith on larger machines, orders/s", "cores", "one machine", "one product")
    table.add_column("database alone", justify="right")
    table.add_column("one product", justify="right")
    for row in rows:
        names = ("one_machine", "one_machine_hot", "own_database", "own_database_hot")
        table.add_row(str(row["cores"]), *(f"{row[name]:,}" for name in names))
    return table


def _alternatives(of: Mapping[str, Any]) -> Table:
    table = _table(
        "Other serverless designs; hot: one product at 300 orders/s",
        "",
        "$/million",
        "hot p99",
        "conflicts",
    )
    naive, built, steps = of["naive"], of["as_built"], of["step_functions"]
    rows = [
        ("batches of ten", built["dollars_per_million"], naive["hot_as_built"]),
        ("orders one by one", built["one_by_one"], None),
        ("naive: batches of one, no stripes", naive["dollars_per_million"], naive["hot"]),
        ("Step Functions, Express", steps["express"], None),
        ("Step Functions, Standard", steps["standard"], None),
    ]
    for name, dollars, hot in rows:
        played = ("", "") if hot is None else (_ms(hot["decided_p99"]), f"{hot['conflicts']:.0%}")
        table.add_row(name, f"{dollars:,.2f}", *played)
    return table


def _print_break_even(of: Mapping[str, Any]) -> None:
    idle = of["idle_month"]
    table = _table("Orders/s from which the monolith costs less", "the monolith", "orders/s", "idle, $/month")
    rows = (
        ("two tasks, database with standby", "with_standby", "with_standby"),
        (f"the same, for {of['peak_factor']} times the mean", "with_standby_sized_for_peak", "with_standby"),
        ("one task, one database, no balancer", "one_server_each", "one_server_each"),
    )
    for name, figure, month in rows:
        rate = of[figure]
        table.add_row(name, "never" if rate is None else f"{rate:.2f}", f"{idle[month]:,.2f}")
    _print(table)
    _print_line(f"Serverless, a month without an order: ${idle['serverless']:,.2f}.")


def print_live(found: Live) -> None:
    """Print what was measured on this machine."""
    table = _table("The monolith on this machine, orders/s", "", "model", "measured", "ratio", "agrees")
    for each in found.validated:
        sign = "[green]✓[/]" if each.agrees else "[red]✗[/]"
        table.add_row(each.case, f"{each.model:,.0f}", f"{each.measured:,.0f}", f"{each.ratio:.2f}", sign)
    _print(table)
    live.print_table(found.compared, console)


def _ms(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    return (
        f"{1000 * seconds:,.0f} ms"
        if seconds < 1
        else f"{seconds:,.1f} s"
        if seconds < 100
        else f"{seconds:,.0f} s"
    )


def _short(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    return (
        f"{1000 * seconds:.0f}ms"
        if seconds < 1
        else f"{seconds:.1f}s"
        if seconds < 100
        else f"{seconds:.0f}s"
    )


def _whole_ms(seconds: float | None) -> str:
    return "–" if seconds is None else f"{1000 * seconds:,.0f}"


def _list_constants(constants: monolith.Constants) -> None:
    table = _table("", "constant", "value")
    table.add_column("what, and from where", overflow="fold")
    for name, each in monolith.KNOWN.items():
        table.add_row(
            name, f"{getattr(constants, name):g}", f"{each.metadata['about']} ({each.metadata['source']})"
        )
    _print(table)


if __name__ == "__main__":
    sys.exit(main())
