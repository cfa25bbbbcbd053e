"""`python -m order_capture_ops.restore STEP`: the steps of docs/how-to/restore.md.

Exit codes: 0 done; 1 something needs a decision, and is listed; 2 the step itself failed.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from rich.markup import escape

from order_capture_ops import stack as stacks
from order_capture_ops.audit import audit
from order_capture_ops.cli import UNKNOWN, Parser, block, console, parse_time, pluralize, progress, run, table
from order_capture_ops.restore.reconcile import CURES, Reconciliation, reconcile
from order_capture_ops.restore.tables import (
    Plan,
    configure,
    import_stack,
    moment_of,
    plan,
    read_plan,
    restore_table,
    restored_tables,
    wait_until_restored,
)

_SHOWN = 20  # contradictions; `--json` has all


def main(arguments: list[str] | None = None) -> int:
    """Run a step; returns its exit code."""
    options = _parser().parse_args(arguments)
    return run(lambda: int(options.command(options)), failed=UNKNOWN)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m order_capture_ops.restore",
        description="Restores a stack's tables to an earlier time; docs/how-to/restore.md has all steps.",
        example="make restore-tables STACK=order-capture-prod AT=2026-11-28T09:59:30Z",
    )
    common = Parser(add_help=False)
    common.add_argument(
        "--stack",
        metavar="NAME",
        help="on AWS, in the account and region of your profile (default: the local one)",
    )
    steps = parser.add_subparsers(required=True, metavar="STEP")

    step = steps.add_parser(
        "tables",
        parents=[common],
        example="make restore-tables STACK=order-capture-prod AT=2026-11-28T09:59:30Z",
        help="restore the tables into new ones",
        description="Restores the tables into new ones, beside the stack's own, and waits for them.",
    )
    step.add_argument(
        "--at",
        required=True,
        type=parse_time,
        metavar="TIME",
        help="the time to restore: 10m, 2h, or 2026-11-28T09:59:30Z",
    )
    step.set_defaults(command=_tables)

    step = steps.add_parser(
        "reconcile",
        parents=[common],
        example="make reconcile STACK=order-capture-prod DRY_RUN=1",
        help="make the restored ledgers agree with the restored orders",
        description="Makes the restored ledgers agree with the restored orders, and audits them. Exits 1 if "
        "some contradictions need a decision.",
    )
    step.add_argument("--dry-run", action="store_true", help="list contradictions without writing")
    step.add_argument(
        "--adjust", action="store_true", help="book the missing amounts of accounts and products"
    )
    step.add_argument("--json", action="store_true", help="for scripts")
    step.set_defaults(command=_reconcile)

    step = steps.add_parser(
        "import",
        parents=[common],
        example="make restore-import STACK=order-capture-prod",
        help="create a stack of the restored tables",
        description="Creates a stack of the restored tables and the user pool, for deploy.sh to "
        "complete. The old stack must have been deleted.",
    )
    step.set_defaults(command=_import)
    return parser


def _tables(options: argparse.Namespace) -> int:
    stack = stacks.find(options.stack)
    planned = plan(stack, options.at)
    planned.write()
    dynamodb = stack.client("dynamodb")
    for name in planned.targets:
        restore_table(dynamodb, planned, name)
    with progress() as on_progress:
        on_progress("tables restored", 0, len(planned.targets))
        wait_until_restored(dynamodb, planned, on_progress)
    shown = table(f"Restored to {planned.moment}", "from", "to")
    for name, source in planned.sources.items():
        shown.add_row(source, planned.targets[name])
    console.print(shown)
    console.print(f"Next: make reconcile DRY_RUN=1{stack.suffix}")
    return 0


def _reconcile(options: argparse.Namespace) -> int:
    planned, clients = _begun(options.stack)
    tables = restored_tables(clients, planned)
    with progress() as on_progress:
        found = reconcile(
            tables,
            moment_of(planned),
            dry_run=options.dry_run,
            adjust=options.adjust,
            on_progress=on_progress,
        )
        left = [] if options.dry_run else audit(tables, float("inf"), on_progress=on_progress).differences
    if options.json:
        print(
            json.dumps({"stack": planned.stack, **asdict(found), "left": [*map(asdict, left)]}, default=str)
        )
        return 1 if found.undecided or left else 0
    show(found)
    for each in left:
        block(f"{each.entity}: {each.what}", f"expected {each.expected}", f"found    {each.found}")
    if found.undecided or left:
        return 1
    if options.dry_run:
        console.print("Nothing was written.")
    else:
        console.print("[green]✓[/] The restored books add up: entries, balances and orders agree.")
    return 0


def show(found: Reconciliation) -> None:
    """Print the contradictions, and what needs a decision."""
    shown = table("Contradictions between the restored tables", "found", "cure", right=("number",))
    for kind, number in sorted(found.counts.items()):
        shown.add_row(kind, CURES[kind], f"{number:,}")
    if found.cures:
        console.print(shown)
    else:
        console.print("No contradictions.")
    for cure in found.cures[:_SHOWN]:
        block(f"{cure.entity}: {cure.kind}", cure.detail)
    if (more := len(found.cures) - _SHOWN) > 0:
        console.print(f"and {pluralize(more, 'other')}: --json has all.")
    for each in found.undecided:
        console.print("[red]To decide:[/]", escape(each))


def _import(options: argparse.Namespace) -> int:
    planned, clients = _begun(options.stack)
    configure(clients("dynamodb"), planned)
    import_stack(clients("cloudformation"), planned)
    console.print(f"[green]✓[/] The stack {planned.stack} has the restored tables and the user pool.")
    console.print("Next: deploy.sh, which adds the other resources.")
    return 0


def _begun(name: str | None) -> tuple[Plan, stacks.Clients]:
    """The plan of a started restore, and clients for its stack's region: the stack may be deleted."""
    where = stacks.locate(name)
    return read_plan(where.name), where.client


if __name__ == "__main__":
    sys.exit(main())
