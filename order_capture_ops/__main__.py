"""`python -m order_capture_ops COMMAND`: see `--help`.

Exit codes: 0 all is well; 1 something is not, and is listed; 2 it could not be found out.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import botocore.exceptions
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from order_capture.domain.errors import TemporaryError
from order_capture.domain.times import written
from order_capture_ops import dead_letters, stack
from order_capture_ops.audit import PATIENCE, audit
from order_capture_ops.history import rebuild
from order_capture_ops.reports import PATIENCE as REPORTS_PATIENCE
from order_capture_ops.reports import check_reports, rebuild_reports
from order_capture_ops.republish import republish
from order_capture_ops.republish_events import republish_events
from order_capture_ops.stack import Stack
from order_capture_ops.stuck import stuck
from order_capture_ops.tables import Tables
from order_capture_ops.watch import watch

DEADLINE_PARAMETER = "OrderDeadlineSeconds"

# A pipe has no width of its own, and ids that are cut in two could not be searched for.
console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 240)
errors = Console(highlight=False, soft_wrap=True, stderr=True)


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.command(stack.find(options.stack), options)
    except TemporaryError as error:
        errors.print("[red]Error:[/]", escape(str(error)), "Run it again.")
        return 1
    except (stack.StackError, botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
        errors.print("[red]Error:[/]", escape(str(error)))
        return 2
    except KeyboardInterrupt:
        errors.print("Interrupted.")
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m order_capture_ops",
        description="Audit the books, redrive dead letters, republish states and events, see what is stuck.",
        epilog="Exit codes: 0 all is well, 1 something is not and is listed, 2 it could not be found out.",
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--stack",
        metavar="NAME",
        help="a stack on AWS, in the account and region of your profile (default: the local engine's)",
    )
    common.add_argument("--json", action="store_true", help="for scripts")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser(
        "audit",
        parents=[common],
        help="replay every ledger and compare it with the heads and the orders",
        description="Replays every ledger and compares it with head and orders. Exits 1 if they differ.",
    )
    command.add_argument(
        "--patience",
        type=float,
        default=PATIENCE,
        metavar="SECONDS",
        help="how long what may still be on its way is looked at again (default: %(default).0f)",
    )
    command.set_defaults(command=_audit)

    command = commands.add_parser(
        "redrive",
        parents=[common],
        help="move the messages of a dead-letter queue back to where they came from",
        description="Moves dead letters back to the queue they came from. Exits 1 if some are left.",
    )
    command.add_argument("queue", metavar="QUEUE", help="order_update, OrderUpdateDlq, OrderTopicDlq, …")
    command.add_argument("--dry-run", action="store_true", help="show what is there, and leave it there")
    command.add_argument("--rate", type=_positive(float), metavar="N", help="at most N messages a second")
    command.add_argument("--limit", type=_positive(int), metavar="N", help="at most N messages in all")
    command.add_argument("--force", action="store_true", help="move what is no message of ours as well")
    command.set_defaults(command=_redrive)

    command = commands.add_parser(
        "republish",
        parents=[common],
        help="publish again how every account and product stands",
        description="Publishes the state of accounts and stock again, for those who keep copies. Exits 1 if "
        "some could not be read or sent.",
    )
    which = command.add_mutually_exclusive_group()
    which.add_argument("--accounts", action="store_true", help="only those of accounts")
    which.add_argument("--stock", action="store_true", help="only those of products")
    which.add_argument("--all", action="store_true", help="both (the default)")
    command.add_argument("--dry-run", action="store_true", help="count them, and publish nothing")
    command.add_argument("--rate", type=_positive(float), metavar="N", help="at most N states a second")
    command.set_defaults(command=_republish)

    command = commands.add_parser(
        "republish-events",
        parents=[common],
        help="publish again what happened to orders",
        description="Publishes the events of orders again: of those that are named, or all since a time. "
        "Exits 1 if some could not be read or sent.",
    )
    command.add_argument("orders", nargs="*", metavar="ORDER_ID", help="default: every order")
    command.add_argument(
        "--since",
        type=date_and_time,
        metavar="TIME",
        help="only what happened then or later: 2026-11-20T10:00Z",
    )
    command.add_argument("--dry-run", action="store_true", help="count them, and publish nothing")
    command.add_argument("--rate", type=_positive(float), metavar="N", help="at most N events a second")
    command.set_defaults(command=_republish_events)

    command = commands.add_parser(
        "stuck",
        parents=[common],
        help="list what is open, and why",
        description="Lists the orders that are open, oldest first, with what each waits for.",
    )
    command.set_defaults(command=_stuck)

    command = commands.add_parser(
        "watch",
        parents=[common],
        help="have the watchdog look at orders now, and drive them on",
        description="Puts orders under the watchdog's eyes again: those named, or all that are open.",
    )
    command.add_argument("orders", nargs="*", metavar="ORDER_ID", help="default: every order that is open")
    command.set_defaults(command=_watch)

    command = commands.add_parser(
        "rebuild-history",
        parents=[common],
        help="write what the ledgers have and their history has not",
        description="Writes the history's missing lines. Exits 1 if some can't be found out.",
    )
    command.add_argument("--dry-run", action="store_true", help="count them, and write nothing")
    command.set_defaults(command=_rebuild_history)

    command = commands.add_parser(
        "check-reports",
        parents=[common],
        help="compare the daily reports with the orders",
        description="Compares the daily reports with the orders, event by event. Exits 1 if they differ.",
    )
    command.add_argument(
        "--patience",
        type=float,
        default=REPORTS_PATIENCE,
        metavar="SECONDS",
        help="how long an event may take to be counted (default: %(default).0f)",
    )
    command.set_defaults(command=_check_reports)

    command = commands.add_parser(
        "rebuild-reports",
        parents=[common],
        help="build the daily reports anew from the orders, while everything runs",
        description="Builds the daily reports anew from the orders. Until it is done, the old ones are read.",
    )
    command.set_defaults(command=_rebuild_reports)
    return parser


def _audit(where: Stack, options: argparse.Namespace) -> int:
    tables = Tables.of(where)
    deadline = float(where.parameters.get(DEADLINE_PARAMETER, 900))
    with _progress() as tick:
        for ledger in tables.ledgers:
            tick(f"{ledger.noun} entries", 0, ledger.size())
        tick("orders", 0, tables.orders.size())
        report = audit(tables, deadline, options.patience, tick)
    if options.json:
        _print_json({"stack": where.name, "ok": not report.differences, **asdict(report)})
        return 1 if report.differences else 0
    table = _table(f"The books of {where.name}", "", right=["number"])
    table.add_row("accounts", f"{report.accounts:,}")
    table.add_row("products", f"{report.products:,}")
    if report.deleted:
        table.add_row("deleted", f"{report.deleted:,}")
    table.add_row("ledger entries", f"{report.entries:,}")
    table.add_row("orders", f"{sum(report.orders.values()):,}")
    for status, number in sorted(report.orders.items()):
        table.add_row(f"  {status}", f"{number:,}")
    console.print(table)
    if not report.differences:
        console.print("[green]✓[/] The books add up: ledgers, heads and orders agree.")
        return 0
    table = _table("Differences", "entity", "what", "expected", "found")
    for each in report.differences:
        table.add_row(*map(escape, (each.entity, each.what, each.expected, each.found)))
    console.print(table)
    console.print(f"[red]✗[/] Differences: {len(report.differences)}")
    return 1


def _redrive(where: Stack, options: argparse.Namespace) -> int:
    sqs, dlq = where.client("sqs"), dead_letters.queue(where, options.queue)
    if options.dry_run:
        with _progress() as tick:
            tick(dlq.name, 0, dead_letters.count(sqs, dlq))
            letters = dead_letters.peek(sqs, dlq, options.limit, lambda number: tick(dlq.name, number))
        if options.json:
            _print_json({"queue": dlq.name, "letters": [asdict(letter) for letter in letters]})
            return 0
        table = _table(f"{dlq.name}", "message", "type", "order", right=["age", "received"])
        for letter in letters:
            kind = letter.type or "not a message of ours"
            row = (letter.message_id, kind, letter.order_id or "", _age(letter.age), str(letter.receives))
            table.add_row(*map(escape, row))
        console.print(table)
        console.print(f"Messages: {len(letters)}. Nothing was moved.")
        return 0
    with _progress() as tick:
        tick(dlq.name, 0, dead_letters.count(sqs, dlq))
        moved = dead_letters.redrive(
            sqs,
            dlq,
            rate=options.rate,
            limit=options.limit,
            force=options.force,
            tick=lambda number: tick(dlq.name, number),
        )
    if options.json:
        _print_json({"queue": dlq.name, **asdict(moved)})
    else:
        to = " and ".join(url.rpartition("/")[2] for url in dlq.targets)
        console.print(f"Moved from {dlq.name} to {to}: {moved.moved}")
        if moved.not_ours:
            console.print(f"[red]Left, being no messages of ours (--force moves them):[/] {moved.not_ours}")
        if moved.failed:
            console.print(f"[red]Left, since they could not be sent (run it again):[/] {moved.failed}")
    return 1 if moved.not_ours or moved.failed else 0


def _republish(where: Stack, options: argparse.Namespace) -> int:
    tables = Tables.of(where)
    skipped = (options.stock and tables.accounts, options.accounts and tables.stock)
    ledgers = [ledger for ledger in tables.ledgers if ledger not in skipped]
    with _progress() as tick:
        for ledger in ledgers:
            tick(f"{ledger.noun} entries", 0, ledger.size())
        done = {
            ledger.noun: republish(where, ledger, rate=options.rate, dry_run=options.dry_run, tick=tick)
            for ledger in ledgers
        }
    unreadable = [f"{noun} {entity}" for noun, each in done.items() for entity in each.unreadable]
    if options.json:
        counts = {noun: asdict(each) for noun, each in done.items()}
        _print_json({"stack": where.name, "published": not options.dry_run, "ledgers": counts})
        return 1 if unreadable else 0
    for noun, each in done.items():
        console.print(f"States of {noun}s: {each.states:,}, of which deleted: {each.deleted:,}")
    console.print("Nothing was published." if options.dry_run else "All of them are published.")
    if unreadable:
        console.print(f"[red]Left out, since they can't be read:[/] {escape(', '.join(unreadable))}")
    return 1 if unreadable else 0


def _republish_events(where: Stack, options: argparse.Namespace) -> int:
    if not options.orders and not options.since:
        # Whoever follows forgets after a while what it has heard: nobody wants the events of years.
        raise stack.StackError("Say which orders (ORDERS), or since when (SINCE).")
    with _progress() as tick:
        done = republish_events(
            where, options.orders, options.since or "", rate=options.rate, dry_run=options.dry_run, tick=tick
        )
    if options.json:
        _print_json({"stack": where.name, "published": not options.dry_run, **asdict(done)})
        return 1 if done.unreadable else 0
    console.print(f"Events: {done.events:,}, of orders: {done.orders:,}")
    console.print("Nothing was published." if options.dry_run else "All of them are published.")
    if done.unreadable:
        console.print(f"[red]Left out, since they can't be read:[/] {escape(', '.join(done.unreadable))}")
    return 1 if done.unreadable else 0


def _stuck(where: Stack, options: argparse.Namespace) -> int:
    tables = Tables.of(where)
    with _progress() as tick:
        tick("orders", 0, tables.orders.size())
        found = stuck(tables, where.client("sqs"), dead_letters.queues(where), tick)
    if options.json:
        _print_json({"stack": where.name, "open": [asdict(order) for order in found]})
        return 0
    if not found:
        console.print("Nothing is open.")
        return 0
    table = _table(f"Open in {where.name}", "order", "status", "age", "waits for", "dead letters")
    for order in found:
        row = (order.order_id, order.status, _age(order.age), "\n".join(order.waits_for))
        table.add_row(*map(escape, (*row, "\n".join(order.dead_letters))))
    console.print(table)
    return 0


def _watch(where: Stack, options: argparse.Namespace) -> int:
    with _progress() as tick:
        orders = watch(where, options.orders, tick)
    if options.json:
        _print_json({"stack": where.name, "watched": [order.order_id for order in orders]})
    else:
        console.print(f"Orders that are looked at now: {len(orders)}")
    return 0


def _rebuild_history(where: Stack, options: argparse.Namespace) -> int:
    tables = Tables.of(where)
    with _progress() as tick:
        for ledger in tables.ledgers:
            tick(f"{ledger.noun} entries", 0, ledger.size())
        report = rebuild(tables, dry_run=options.dry_run, tick=tick)
    if options.json:
        _print_json({"stack": where.name, "dryRun": options.dry_run, **asdict(report)})
        return 1 if report.left else 0
    done = "missing; nothing was written" if options.dry_run else "missing, and are there now"
    console.print(f"Accounts: {report.accounts:,}, products: {report.products:,}.")
    console.print(f"Lines: {report.lines:,} {done}.")
    for left in report.left:
        console.print("[red]Left:[/]", escape(left))
    return 1 if report.left else 0


def _check_reports(where: Stack, options: argparse.Namespace) -> int:
    with _progress() as tick:
        report = check_reports(where, options.patience, tick)
    if options.json:
        _print_json({"stack": where.name, "ok": not report.differences, **asdict(report)})
        return 1 if report.differences else 0
    if report.differences:
        table = _table("Differences", "row", "what", "expected", "found")
        for each in report.differences:
            table.add_row(*map(escape, (each.entity, each.what, each.expected, each.found)))
        console.print(table)
        console.print(f"[red]✗[/] Differences: {len(report.differences)}")
        return 1
    console.print(
        f"[green]✓[/] The reports are those of the orders: {report.orders:,} orders, "
        f"{report.events:,} events, {report.rows:,} rows."
    )
    return 0


def _rebuild_reports(where: Stack, options: argparse.Namespace) -> int:
    with _progress() as tick:
        rebuilt = rebuild_reports(where, tick)
    if options.json:
        _print_json({"stack": where.name, **asdict(rebuilt)})
    else:
        console.print(f"Built anew: {rebuilt.events:,} events of {rebuilt.orders:,} orders.")
    return 0


@contextlib.contextmanager
def _progress() -> Iterator[Callable[..., None]]:
    """A bar for each thing that is counted, on a terminal, and gone at the end."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as progress:
        tasks: dict[str, TaskID] = {}

        def tick(what: str, number: int, total: int | None = None) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total or None)
            progress.update(tasks[what], advance=number)

        yield tick


def _table(title: str, *columns: str, right: list[str] | None = None) -> Table:
    table = Table(box=box.SIMPLE, title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for column in right or []:
        table.add_column(column, justify="right")
    return table


def _age(seconds: float) -> str:
    return str(timedelta(seconds=int(seconds)))


def _print_json(value: dict[str, Any]) -> None:
    print(json.dumps(value, indent=2))


def date_and_time(text: str) -> str:  # argparse names it in its error message
    """A time as it is written everywhere; UTC if it has no zone."""
    moment = datetime.fromisoformat(text)
    return written(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _positive(number: type[int] | type[float]) -> Callable[[str], float]:
    def positive_number(text: str) -> float:  # argparse names it in its error message
        value = number(text)
        if not value > 0:
            raise ValueError
        return value

    return positive_number


if __name__ == "__main__":
    sys.exit(main())
