"""`make flash-sale`: the real functions sell a hot product in virtual time, on a model of AWS."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from rich import box
from rich.markup import escape
from rich.progress import Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.flash_sale import plots
from benchmarks.flash_sale.constants import KNOWN, Constants, constants_from
from benchmarks.flash_sale.model import Sale, surrounded
from benchmarks.flash_sale.scenarios import SCENARIOS, Outcome, Scenario, play
from benchmarks.flash_sale.wiring import ENVIRONMENTS
from order_capture_ops.cli import Parser, console, errors, integer_between, run
from order_capture_ops.errors import UsageError
from tests.support.template import ROOT

LAST_SEED = 2**63 - 1
MOST_CONCURRENCY = 1_000  # Lambda's bounds (services-sqs-scaling.html)
LEAST_CONCURRENCY = 2
SHOWN = 5  # broken promises
MOST_STRIPES = 48  # what template.yaml allows


def main(arguments: list[str] | None = None) -> int:
    """Run the requested scenarios; 1 if a promise about correct decisions is broken, or with --check any."""
    parser = Parser(
        prog="make flash-sale",
        description=__doc__,
        example="make flash-sale SCENARIO=F2 SEED=7 CONCURRENCY=10",
        epilog="Fails if an answer is wrong (oversold, lost, an invariant broken); with --check also if a "
        "target is missed, which is otherwise only shown.",
    )
    parser.add_argument("--scenario", type=_scenario, help=f"one of {', '.join(SCENARIOS)} (default: all)")
    parser.add_argument(
        "--seed", type=integer_between(0, LAST_SEED), default=1, help="seed for the latencies"
    )
    parser.add_argument(
        "--concurrency",
        type=integer_between(LEAST_CONCURRENCY, MOST_CONCURRENCY),
        help="MaximumConcurrency of the queues, instead of the template's",
    )
    parser.add_argument(
        "--env",
        choices=ENVIRONMENTS,
        default="prod",
        help="environment of samconfig.toml whose parameters apply",
    )
    parser.add_argument(
        "--stripes", type=_stripes, help="LedgerStripes, instead of the template's: a number, or off for none"
    )
    parser.add_argument("--set", default="", help='constants of the model: "wcu_per_partition=500 sigma=0"')
    parser.add_argument("--constants", action="store_true", help="list them, with their sources")
    parser.add_argument("--json", action="store_true", help="print one JSON object; needs a scenario")
    parser.add_argument("--plots", action="store_true", help="write the plots for the documentation")
    parser.add_argument("--check", action="store_true", help="fail if a target is missed as well")
    options = parser.parse_args(arguments)
    return run(lambda: _main(options))


def _scenario(name: str) -> str:
    if name in SCENARIOS:
        return name
    raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(SCENARIOS)}")


def _stripes(text: str) -> int:
    return 0 if text == "off" else integer_between(0, MOST_STRIPES)(text)


def _main(options: argparse.Namespace) -> int:
    constants = constants_from(options.set)
    if options.constants:
        _list_constants()
        return 0
    if options.json and not options.scenario:
        raise UsageError(f"JSON (--json) needs a SCENARIO, one of {', '.join(SCENARIOS)}")
    names = [options.scenario] if options.scenario else list(SCENARIOS)
    played: list[tuple[Scenario, Outcome]] = []
    for name in names:
        scenario = SCENARIOS[name]()
        played.append((scenario, _play(scenario, options, constants)))
    if options.json:
        sys.stdout.write(json.dumps(played[0][1].figures) + "\n")
    else:
        console.print(_table(played))
        for scenario, outcome in played:
            console.print(_summary(scenario, outcome), markup=False)
    for scenario, outcome in played:
        for reason in outcome.broken[:SHOWN]:
            errors.print(f"[red]✗[/] {scenario.name}: {escape(reason)}")
    is_wrong = any(outcome.broken for _, outcome in played)
    is_slow = not all(
        target.met(outcome.figures) for scenario, outcome in played for target in scenario.targets
    )
    return int(is_wrong or (options.check and is_slow))


def _play(scenario: Scenario, options: argparse.Namespace, constants: Constants) -> Outcome:
    settings = {} if options.stripes is None else {"LEDGER_STRIPES": str(options.stripes)}
    sale = Sale(
        options.seed,
        constants,
        environment=options.env,
        concurrency=options.concurrency,
        settings=settings,
    )
    with _progress() as progress:
        bar = progress.add_task(scenario.name, what=f"{scenario.orders:,} orders: opening accounts")

        def show(sale: Sale) -> None:
            sample = sale.progress.samples[-1]
            progress.update(
                bar,
                what=f"{sample.time:.0f} s of virtual time, of {scenario.orders:,} orders "
                f"{sample.decided:,} decided, {sample.shipped:,} shipped",
            )

        with surrounded(sale):
            outcome = play(scenario, options.seed, sale, show)
    if options.plots:
        for path in plots.draw(scenario.name, scenario.load, sale.progress.samples):
            errors.print(f"Drawn: {path.relative_to(ROOT)}")
    return outcome


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        TextColumn("{task.fields[what]}"),
        TimeElapsedColumn(),
        console=errors,
        transient=True,
        disable=not errors.is_terminal,
    )


def _table(played: Sequence[tuple[Scenario, Outcome]]) -> Table:
    table = Table(box=box.SIMPLE, width=80)
    for header in ("", "load", "promised", "at most", "measured", ""):
        table.add_column(header, justify="right" if header in ("at most", "measured") else "left")
    for scenario, outcome in played:
        for number, target in enumerate(scenario.targets):
            measured = outcome.figures[target.figure]
            table.add_row(
                "" if number else scenario.name,
                "" if number else scenario.load,
                target.text,
                target.unit(target.most),
                "never" if measured is None else target.unit(measured),
                "[green]✓[/]" if target.met(outcome.figures) else "[red]✗[/]",
            )
    return table


def _summary(scenario: Scenario, outcome: Outcome) -> str:
    of = outcome.figures
    lines = [
        f"{scenario.name}  p50 {_seconds(of['decided_p50'])}, p99 {_seconds(of['decided_p99'])} decided; "
        f"shipped {of['shipped']:,}, rejected {of['rejected']:,}, expired {of['expired']:,}",
        f"    dead letters {of['dead_letters']:,}, returned {of['returned']:,}, "
        f"conflicts {of['conflicts']:.0%}, write units an order {of['write_units']:.1f}",
    ]
    return "\n".join(lines)


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f} s"


def _list_constants() -> None:
    table = Table(box=box.SIMPLE, width=80)
    for header in ("constant", "default", "allowed", "what, and from where"):
        table.add_column(header, overflow="fold", justify="right" if header == "default" else "left")
    for name, each in KNOWN.items():
        of = each.metadata
        table.add_row(
            name, f"{each.default:g}", f"{of['least']:g} to {of['most']:g}", f"{of['about']} ({of['source']})"
        )
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
