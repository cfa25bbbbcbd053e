"""`python -m order_capture_ops COMMAND`: see `--help`.

Exit codes: 0 no problems; 1 problems were found and are listed; 2 the check itself failed.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.markup import escape

from order_capture.adapters.operations import dead_letters
from order_capture.adapters.operations.dead_letters import DeadLetterQueue
from order_capture_ops import clients, logs, status
from order_capture_ops import stack as stacks
from order_capture_ops.audit import GRACE_PERIOD, Difference, audit
from order_capture_ops.cli import (
    FAILED,
    UNKNOWN,
    Parser,
    age,
    block,
    console,
    identifier,
    integer_between,
    non_negative_number,
    parse_time,
    parse_time_text,
    pluralize,
    positive_number,
    progress,
    table,
)
from order_capture_ops.cli import run as run_command
from order_capture_ops.close_books import ClosedBooks, close_books, retention_end
from order_capture_ops.customer_data import export_customer
from order_capture_ops.dashboard.draw import OUTPUT, draw
from order_capture_ops.erase_customer import erase_customer
from order_capture_ops.errors import UsageError
from order_capture_ops.history import rebuild
from order_capture_ops.open_orders import open_orders
from order_capture_ops.recheck import recheck
from order_capture_ops.reports import GRACE_PERIOD as REPORTS_GRACE_PERIOD
from order_capture_ops.reports import check_reports, rebuild_reports
from order_capture_ops.republish import republish
from order_capture_ops.republish_events import republish_events
from order_capture_ops.stack import Stack
from order_capture_ops.tables import Tables

DEADLINE_PARAMETER = "OrderDeadlineSeconds"

MAX_MESSAGES = 1_000_000_000


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    options = _parser().parse_args(arguments)
    return run_command(
        lambda: int(options.command(stacks.find(options.stack), options)), failed=options.failed
    )


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m order_capture_ops",
        description="Audit the ledgers, redrive dead letters, republish states and events, list open orders.",
        example="make status, or make audit STACK=order-capture-dev",
        epilog="Exit codes: 0 no problems, 1 problems were found and are listed, 2 the check itself failed.",
    )
    common = Parser(add_help=False)
    common.add_argument(
        "--stack",
        metavar="NAME",
        help="a stack on AWS, in the account and region of your profile (default: the local engine's)",
    )
    common.add_argument("--json", action="store_true", help="for scripts")
    # For commands whose exit code 1 means problems, 2 means that the check itself failed.
    common.set_defaults(failed=UNKNOWN)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser(
        "status",
        parents=[common],
        example="make status, or make status STACK=order-capture-dev",
        help="show queues, dead letters with reasons, alarms and open orders",
        description="Shows queues, dead letters with reasons, alarms, open orders and consumers, and what to "
        "do next. Exits 1 if something needs attention.",
    )
    command.add_argument(
        "--limit",
        type=integer_between(1, 1000),
        default=10,
        metavar="N",
        help="dead letters shown of each queue (%(default)s)",
    )
    command.set_defaults(command=_status)

    command = commands.add_parser(
        "logs",
        parents=[common],
        example="make logs FUNCTION=order_update SINCE=10m, or make logs ORDER=<id>",
        help="print the functions' logs, oldest first",
        description="Prints the functions' logs, oldest first; with --json, one JSON object per line.",
    )
    command.add_argument(
        "--function", default="", metavar="NAMES", help="only these functions: order_api, OrderApi, …"
    )
    command.add_argument("--order", type=identifier, metavar="ID", help="only lines about this order")
    command.add_argument("--since", type=parse_time, metavar="TIME", help="10m, 2h, 3d, or 2026-11-20T10:00Z")
    command.add_argument(
        "--lines",
        type=integer_between(1, 1_000_000),
        default=200,
        metavar="N",
        help="the newest N (%(default)s)",
    )
    command.add_argument("--follow", action="store_true", help="keep printing new lines until Ctrl-C")
    command.set_defaults(command=_logs, failed=FAILED)

    command = commands.add_parser(
        "dashboard",
        parents=[common],
        example="make dashboard SINCE=3h, or make dashboard STACK=order-capture-dev",
        help="draw the stack's CloudWatch dashboard into a file",
        description="Draws the stack's CloudWatch dashboard, as a page that needs nothing else.",
    )
    command.add_argument(
        "--since",
        type=parse_time,
        metavar="TIME",
        help="the beginning: 10m, 3h, 2d, or 2026-11-20T10:00Z (default: an hour ago)",
    )
    command.add_argument(
        "--output",
        type=Path,
        default=OUTPUT,
        metavar="FILE",
        help="the page, which is replaced (default: .local/dashboard.html)",
    )
    command.set_defaults(command=_dashboard, failed=FAILED)

    command = commands.add_parser(
        "audit",
        parents=[common],
        example="make audit, or make audit STACK=order-capture-dev",
        help="replay every ledger and compare it with balances and orders",
        description="Replays every ledger and compares it with balances and orders. Exits 1 if they differ.",
    )
    command.add_argument(
        "--grace-period",
        type=non_negative_number,
        default=GRACE_PERIOD,
        metavar="SECONDS",
        help="how long to recheck differences that may still resolve (default: %(default).0f)",
    )
    command.set_defaults(command=_audit)

    command = commands.add_parser(
        "close-books",
        parents=[common],
        example="make close-books DRY_RUN=1",
        help="delete orders, entries and history past their retention, and keep their sums",
        description="Deletes orders that ended OrderRetentionDays ago, their ledger entries, and the history "
        "of that time. Their sums stay in the ledgers. Exits 1 if some could not be deleted.",
    )
    command.add_argument("--dry-run", action="store_true", help="count them without deleting")
    command.set_defaults(command=_close_books)

    command = commands.add_parser(
        "redrive",
        parents=[common],
        example="make redrive QUEUE=order_update RATE=10",
        help="move the messages of a dead-letter queue back to its source",
        description="Moves dead letters back to their source queue. Exits 1 if some are left.",
    )
    command.add_argument(
        "queue", nargs="?", metavar="QUEUE", help="order_update, OrderUpdateDlq, OrderTopicDlq, …"
    )
    command.add_argument("--dry-run", action="store_true", help="list the messages without moving any")
    command.add_argument("--rate", type=positive_number, metavar="N", help="at most N messages a second")
    command.add_argument(
        "--limit", type=integer_between(1, MAX_MESSAGES), metavar="N", help="at most N messages in all"
    )
    command.add_argument("--force", action="store_true", help="also move messages of other senders")
    command.set_defaults(command=_redrive)

    command = commands.add_parser(
        "republish",
        parents=[common],
        example="make republish RATE=100, or DRY_RUN=1 to count them",
        help="publish the state of every account and product again",
        description="Publishes the state of accounts and products again, for consumers with copies. Exits 1 "
        "if some could not be read or sent.",
    )
    which = command.add_mutually_exclusive_group()
    which.add_argument("--accounts", action="store_true", help="only accounts")
    which.add_argument("--stock", action="store_true", help="only products")
    which.add_argument("--all", action="store_true", help="both (the default)")
    command.add_argument("--dry-run", action="store_true", help="count them without publishing")
    command.add_argument("--rate", type=positive_number, metavar="N", help="at most N states a second")
    command.set_defaults(command=_republish)

    command = commands.add_parser(
        "republish-events",
        parents=[common],
        example="make republish-events SINCE=2h RATE=100",
        help="publish order events again",
        description="Publishes the events of the given orders, or all events since a time, again. Exits 1 if "
        "some could not be read or sent.",
    )
    command.add_argument(
        "orders", nargs="*", type=identifier, metavar="ORDERS", help="their ids (default: every order)"
    )
    command.add_argument(
        "--since",
        type=parse_time_text,
        metavar="TIME",
        help="only events since then: 2h, 3d, or 2026-11-20T10:00Z",
    )
    command.add_argument("--dry-run", action="store_true", help="count them without publishing")
    command.add_argument("--rate", type=positive_number, metavar="N", help="at most N events a second")
    command.set_defaults(command=_republish_events)

    command = commands.add_parser(
        "stuck",
        parents=[common],
        example="make stuck, or make stuck STACK=order-capture-dev",
        help="list orders that have been open too long, and what each waits for",
        description="Lists the open orders that the watchdog has checked at least once (WatchDelaySeconds "
        "after they were placed), oldest first, and what each waits for.",
    )
    command.set_defaults(command=_open_orders)

    command = commands.add_parser(
        "watch",
        parents=[common],
        example='make watch ORDERS="id id"',
        help="have the watchdog check orders now",
        description="Has the watchdog recheck orders: the given ones, or all that have been open too long.",
    )
    command.add_argument(
        "orders", nargs="*", type=identifier, metavar="ORDERS", help="their ids (default: all that are open)"
    )
    command.add_argument(
        "--scan",
        action="store_true",
        help="read all orders, also those without a watch (after dead letters of change_publisher)",
    )
    command.set_defaults(command=_recheck)

    command = commands.add_parser(
        "rebuild-history",
        parents=[common],
        example="make rebuild-history DRY_RUN=1",
        help="write missing history records",
        description="Writes missing history records, from the ledgers. Exits 1 if some can't be determined.",
    )
    command.add_argument("--dry-run", action="store_true", help="count them without writing")
    command.set_defaults(command=_rebuild_history)

    command = commands.add_parser(
        "check-reports",
        parents=[common],
        example="make check-reports, or make check-reports STACK=order-capture-dev",
        help="compare the daily reports with the orders",
        description="Compares the daily reports with the orders, event by event. Exits 1 if they differ.",
    )
    command.add_argument(
        "--grace-period",
        type=non_negative_number,
        default=REPORTS_GRACE_PERIOD,
        metavar="SECONDS",
        help="how long an event may take to be counted (default: %(default).0f)",
    )
    command.set_defaults(command=_check_reports)

    command = commands.add_parser(
        "rebuild-reports",
        parents=[common],
        example="make rebuild-reports, or make rebuild-reports STACK=order-capture-dev",
        help="rebuild the daily reports from the orders",
        description="Rebuilds the daily reports from the orders. The old ones are served until it is done.",
    )
    command.set_defaults(command=_rebuild_reports)

    command = commands.add_parser(
        "export-customer",
        parents=[common],
        example="make export-customer CUSTOMER=alice OUTPUT=alice.json",
        help="export all data of a customer to a file",
        description="Exports all data of a customer to a JSON file. Secrets are left out.",
    )
    command.add_argument("customer", type=identifier, metavar="CUSTOMER", help="the customer's id")
    command.add_argument("--output", type=Path, required=True, metavar="FILE", help="is replaced")
    command.set_defaults(command=_export_customer, failed=FAILED)

    command = commands.add_parser(
        "erase-customer",
        parents=[common],
        example="make erase-customer CUSTOMER=alice DRY_RUN=1",
        help="delete a customer; orders and amounts stay under a pseudonym",
        description="Deletes all data of a customer, except orders and amounts, which get a random "
        "pseudonym. It can't be undone, and is refused while an order of the customer is open.",
    )
    command.add_argument("customer", type=identifier, metavar="CUSTOMER", help="the customer's id")
    command.add_argument(
        "--dry-run", action="store_true", help="show what would be deleted, without deleting"
    )
    command.set_defaults(command=_erase_customer, failed=FAILED)

    command = commands.add_parser(
        "clients",
        parents=[common],
        example='make clients ADD=warehouse SCOPES="orders/read stock/write"',
        help="list the app clients of services; add, rotate or revoke one",
        description="Lists the user pool's app clients, or changes one of them. A secret is shown once.",
    )
    action = command.add_mutually_exclusive_group()
    action.add_argument("--add", metavar="NAME", help="create a client for a service")
    action.add_argument("--rotate", metavar="NAME", help="create a second secret; the first stays valid")
    action.add_argument("--retire", metavar="NAME", help="delete the older of its two secrets")
    action.add_argument("--revoke", metavar="NAME", help="delete the client: it can get no more tokens")
    command.add_argument("--scopes", default="", metavar="SCOPES", help="scopes of a new client")
    command.set_defaults(command=_clients, failed=FAILED)
    return parser


def _dashboard(stack: Stack, options: argparse.Namespace) -> int:
    with progress() as on_progress:
        drawn = draw(stack, options.since, options.output, on_progress)
    filled = [each.panel.title for each in drawn if any(any(line.points.values()) for line in each.lines)]
    only_on_aws = [each.panel.title for each in drawn if each.absent and not each.lines]
    if options.json:
        shown = {"panels": len(drawn), "filled": filled, "onlyOnAws": only_on_aws}
        _print_json({"stack": stack.name, "file": str(options.output), **shown})
        return 0
    console.print(f"[green]✓[/] {pluralize(len(drawn), 'panel')}, with data: {len(filled)}")
    if only_on_aws:
        console.print(f"Measured on AWS only: {len(only_on_aws)}")
    console.print("Open", options.output)
    return 0


def _audit(stack: Stack, options: argparse.Namespace) -> int:
    tables = Tables.of(stack)
    deadline = float(stack.parameters.get(DEADLINE_PARAMETER, 900))
    with progress() as on_progress:
        for ledger in tables.ledgers:
            on_progress(f"{ledger.noun} entries", 0, ledger.size())
        on_progress("orders", 0, tables.orders.size())
        report = audit(tables, deadline, options.grace_period, on_progress)
    if options.json:
        _print_json({"stack": stack.name, "ok": not report.differences, **asdict(report)})
        return 1 if report.differences else 0
    shown = table(f"Ledgers of {stack.name}", "", right=("number",))
    shown.add_row("accounts", f"{report.accounts:,}")
    shown.add_row("products", f"{report.products:,}")
    if report.stripes:
        shown.add_row("stripes", f"{report.stripes:,}")
    if report.deleted:
        shown.add_row("deleted", f"{report.deleted:,}")
    shown.add_row("ledger entries", f"{report.entries:,}")
    if report.closed_until:
        shown.add_row("books closed until", report.closed_until)
    shown.add_row("orders", f"{sum(report.orders.values()):,}")
    for order_status, number in sorted(report.orders.items()):
        shown.add_row(f"  {order_status}", f"{number:,}")
    console.print(shown)
    if not report.differences:
        console.print("[green]✓[/] The books add up: entries, balances and orders agree.")
        return 0
    _print_differences(report.differences)
    return 1


def _close_books(stack: Stack, options: argparse.Namespace) -> int:
    until, tables = retention_end(stack), Tables.of(stack)
    with progress() as on_progress:
        on_progress("orders", 0, tables.orders.size())
        for ledger in tables.ledgers:
            on_progress(f"{ledger.noun} entries", 0, ledger.size())
        on_progress("history records", 0, tables.history.size())
        closed = close_books(tables, until, dry_run=options.dry_run, on_progress=on_progress)
    if options.json:
        _print_json({"stack": stack.name, "dryRun": options.dry_run, **asdict(closed)})
    else:
        _show_closed(stack, closed, dry_run=options.dry_run)
    return 1 if closed.left else 0


def _show_closed(stack: Stack, closed: ClosedBooks, *, dry_run: bool) -> None:
    shown = table(f"{'To close' if dry_run else 'Closed'} until {closed.until}", "", right=("number",))
    shown.add_row("orders", f"{closed.orders:,}")
    shown.add_row("ledger entries", f"{closed.entries:,}")
    shown.add_row("history records", f"{closed.records:,}")
    shown.add_row("idempotency keys", f"{closed.keys:,}")
    console.print(shown)
    for left in closed.left:
        console.print("[red]Kept:[/]", escape(left))
    if closed.left:
        console.print(f"{_next('audit', stack)} has the details.")
    console.print("Nothing was deleted." if dry_run else "[green]✓[/] The sums are in the ledgers.")


def _print_differences(differences: Sequence[Difference]) -> None:
    for each in differences:
        block(f"{each.entity}: {each.what}", f"expected {each.expected}", f"found    {each.found}")
    console.print(f"[red]✗[/] Differences: {len(differences):,}")


def dead_letter_queue(stack: Stack, name: str) -> DeadLetterQueue:
    """The dead-letter queue of that name: OrderUpdateDlq, OrderUpdateQueue, OrderUpdate, order_update, …

    Raises:
        UsageError: there is no such queue.
    """
    known = [dlq for dlq in dead_letters.all_queues(stack) if dlq.targets]
    for each in known:
        if _normalized(each.name) == _normalized(name):
            return each
    names = ", ".join(each.name for each in known)
    raise UsageError(f"{name} is not a dead-letter queue that can be redriven.\nThere are: {names}")


def _normalized(name: str) -> str:
    """A queue's name for comparison: order_update, OrderUpdateDlq and OrderUpdateQueue are equal."""
    return re.sub(r"(dlq|queue)$", "", re.sub(r"[^a-z0-9]", "", name.lower()))


def _redrive(stack: Stack, options: argparse.Namespace) -> int:
    sqs = stack.client("sqs")
    if not options.queue:
        known = {
            dlq.name: dead_letters.count(sqs, dlq) for dlq in dead_letters.all_queues(stack) if dlq.targets
        }
        counts = ", ".join(f"{name} {number}" for name, number in known.items() if number)
        empty = ", ".join(name for name, number in known.items() if not number)
        raise UsageError(
            f"QUEUE is missing. Dead letters now: {counts or 'none'}. Empty: {empty}.\n"
            "For example: make redrive QUEUE=order_update DRY_RUN=1"
        )
    dlq = dead_letter_queue(stack, options.queue)
    if options.dry_run:
        with progress() as on_progress:
            on_progress(dlq.name, 0, dead_letters.count(sqs, dlq))
            messages = dead_letters.peek(sqs, dlq, options.limit, on_progress)
        if options.json:
            _print_json({"queue": dlq.name, "messages": [asdict(message) for message in messages]})
            return 0
        for message in messages:
            block(
                message.message_id,
                message.type or "foreign message",
                f"order {message.order_id}" if message.order_id else "",
                f"{age(message.age)} old, received {message.receives} times",
            )
        console.print(f"Messages in {dlq.name}: {len(messages):,}. Nothing was moved.")
        return 0
    with progress() as on_progress:
        on_progress(dlq.name, 0, dead_letters.count(sqs, dlq))
        result = dead_letters.redrive(
            sqs,
            dlq,
            rate=options.rate,
            limit=options.limit,
            force=options.force,
            on_progress=on_progress,
        )
    if options.json:
        _print_json({"queue": dlq.name, **asdict(result)})
    else:
        to = " and ".join(url.rpartition("/")[2] for url in dlq.targets)
        console.print(f"Moved from {dlq.name} to {to}: {result.moved}")
        if result.foreign:
            console.print(
                "[red]Foreign messages, not moved (`make status` has reasons, ARGS=--force moves them):[/] "
                f"{result.foreign}"
            )
        if result.failed:
            console.print(f"[red]Not moved, as they could not be sent (run it again):[/] {result.failed}")
    return 1 if result.foreign or result.failed else 0


def _republish(stack: Stack, options: argparse.Namespace) -> int:
    tables = Tables.of(stack)
    skipped = (options.stock and tables.accounts, options.accounts and tables.stock)
    ledgers = [ledger for ledger in tables.ledgers if ledger not in skipped]
    with progress() as on_progress:
        for ledger in ledgers:
            on_progress(f"{ledger.noun} entries", 0, ledger.size())
        done = {
            ledger.noun: republish(
                stack, ledger, rate=options.rate, dry_run=options.dry_run, on_progress=on_progress
            )
            for ledger in ledgers
        }
    unreadable = [f"{noun} {entity}" for noun, each in done.items() for entity in each.unreadable]
    refused = [f"{noun} {entity}" for noun, each in done.items() for entity in each.refused]
    if options.json:
        counts = {noun: asdict(each) for noun, each in done.items()}
        _print_json({"stack": stack.name, "published": not options.dry_run, "ledgers": counts})
        return 1 if unreadable or refused else 0
    for noun, each in done.items():
        console.print(f"States of {noun}s: {each.states:,}, of which deleted: {each.deleted:,}")
    if not refused:
        console.print("Nothing was published." if options.dry_run else "All were published.")
    return _print_skipped(unreadable, refused)


def _republish_events(stack: Stack, options: argparse.Namespace) -> int:
    if not options.orders and not options.since:
        # Consumers forget event ids after some time: publishing all events of years would repeat old ones.
        raise UsageError(
            "Either ORDERS or SINCE is required.\nFor example: make republish-events SINCE=2h DRY_RUN=1"
        )
    with progress() as on_progress:
        done = republish_events(
            stack,
            options.orders,
            options.since or "",
            rate=options.rate,
            dry_run=options.dry_run,
            on_progress=on_progress,
        )
    if options.json:
        _print_json({"stack": stack.name, "published": not options.dry_run, **asdict(done)})
        return 1 if done.unreadable or done.refused else 0
    console.print(f"Events: {done.events:,}, of orders: {done.orders:,}")
    if not done.refused:
        console.print("Nothing was published." if options.dry_run else "All were published.")
    return _print_skipped(done.unreadable, done.refused)


def _open_orders(stack: Stack, options: argparse.Namespace) -> int:
    with progress() as on_progress:
        found = [*open_orders(stack, on_progress)]
    if options.json:
        orders = [
            {
                "order_id": each.order.order_id,
                "status": each.order.status,
                "age": each.age,
                "waits_for": [*each.waits_for],
                "dead_letters": [*each.dead_letters],
            }
            for each in found
        ]
        _print_json({"stack": stack.name, "open": orders})
        return 0
    if not found:
        sqs = stack.client("sqs")
        number = sum(dead_letters.count(sqs, dlq) for dlq in dead_letters.all_queues(stack))
        console.print(
            f"No order has been open too long. {pluralize(number, 'dead letter')}: "
            f"{_next('status', stack)} shows why."
            if number
            else "No order has been open too long."
        )
        return 0
    for each in found:
        block(
            each.order.order_id,
            f"{each.order.status}, placed {age(each.age)} ago",
            *(f"waits for {reason}" for reason in each.waits_for),
            *(f"dead letter in {queue}" for queue in each.dead_letters),
        )
    console.print(f"Open too long in {stack.name}: {pluralize(len(found), 'order')}")
    return 0


def _recheck(stack: Stack, options: argparse.Namespace) -> int:
    unreadable: list[str] = []
    with progress() as on_progress:
        ids = recheck(
            stack, options.orders, scan=options.scan, on_progress=on_progress, unreadable=unreadable
        )
    if options.json:
        _print_json({"stack": stack.name, "rechecked": ids, "unreadable": unreadable})
        return 1 if unreadable else 0
    console.print(f"Orders being rechecked: {len(ids)}")
    return _print_skipped(unreadable)


def _rebuild_history(stack: Stack, options: argparse.Namespace) -> int:
    tables = Tables.of(stack)
    with progress() as on_progress:
        for ledger in tables.ledgers:
            on_progress(f"{ledger.noun} entries", 0, ledger.size())
        report = rebuild(tables, dry_run=options.dry_run, on_progress=on_progress)
    if options.json:
        _print_json({"stack": stack.name, "dryRun": options.dry_run, **asdict(report)})
        return 1 if report.left else 0
    console.print(f"Accounts: {report.accounts:,}, products: {report.products:,}.")
    written = "; nothing was written" if options.dry_run else ", now written"
    console.print(f"Records: {report.records:,} missing{written}.")
    for left in report.left:
        console.print("[red]Skipped:[/]", escape(left))
    return 1 if report.left else 0


def _check_reports(stack: Stack, options: argparse.Namespace) -> int:
    with progress() as on_progress:
        report = check_reports(stack, options.grace_period, on_progress)
    if options.json:
        _print_json({"stack": stack.name, "ok": not report.differences, **asdict(report)})
        return 1 if report.differences else 0
    if report.differences:
        _print_differences(report.differences)
        return 1
    console.print(
        f"[green]✓[/] The reports match the orders: {report.orders:,} orders, "
        f"{report.events:,} events, {report.rows:,} rows."
    )
    return 0


def _rebuild_reports(stack: Stack, options: argparse.Namespace) -> int:
    with progress() as on_progress:
        rebuilt = rebuild_reports(stack, on_progress)
    if options.json:
        _print_json({"stack": stack.name, **asdict(rebuilt)})
        return 1 if rebuilt.unreadable else 0
    console.print(f"Rebuilt from {rebuilt.events:,} events of {rebuilt.orders:,} orders.")
    return _print_skipped(rebuilt.unreadable)


def _print_skipped(unreadable: Sequence[str], refused: Sequence[str] = ()) -> int:
    """Print the ids that a command had to skip; returns its exit code."""
    for reason, ids in (("unreadable", unreadable), ("rejected by SNS", refused)):
        if ids:
            console.print(f"[red]Skipped, {reason}:[/] {escape(', '.join(ids))}")
    return 1 if unreadable or refused else 0


def _status(stack: Stack, options: argparse.Namespace) -> int:
    with progress() as on_progress:
        found = status.status(stack, options.limit, on_progress)
    if options.json:
        _print_json({"stack": stack.name, "ok": not found.attention, **asdict(found)})
    else:
        status.show(found, stack)
    return 1 if found.attention else 0


def _logs(stack: Stack, options: argparse.Namespace) -> int:
    return logs.show(
        stack,
        functions=options.function,
        order_id=options.order,
        since=options.since,
        lines=options.lines,
        follow=options.follow,
        raw=options.json,
    )


def _clients(stack: Stack, options: argparse.Namespace) -> int:
    if options.scopes and not options.add:
        raise UsageError("SCOPES is for ADD only: the scopes of an existing client can't be changed")
    if options.add or options.rotate:
        made = (
            clients.add(stack, options.add, options.scopes.split())
            if options.add
            else clients.rotate(stack, options.rotate)
        )
        if options.json:
            _print_json({"name": made.client.name, "id": made.client.client_id, "secret": made.value})
            return 0
        block(made.client.name, f"id      {made.client.client_id}", f"secret  {made.value}")
        console.print("The secret is not shown again.")
        if options.rotate:
            retire = _next("clients", stack)
            console.print(f"Once the service has it: {retire} RETIRE={made.client.name}")
        return 0
    if name := options.retire or options.revoke:
        done = clients.retire(stack, name) if options.retire else clients.revoke(stack, name)
        if options.json:
            _print_json({"name": done.name, "id": done.client_id})
        elif options.retire:
            console.print(f"{done.name} has one secret left, the newer one.")
        else:
            console.print(f"{done.name} is deleted. Its tokens stay valid for up to an hour.")
        return 0
    found = clients.list_clients(stack)
    if options.json:
        _print_json({"stack": stack.name, "clients": [asdict(client) for client in found]})
        return 0
    for client in found:
        block(
            client.name,
            client.client_id,
            " ".join(client.scopes) or "no scopes",
            "part of the stack" if client.of_the_stack else "",
        )
    return 0


def _export_customer(stack: Stack, options: argparse.Namespace) -> int:
    with progress() as on_progress:
        data = export_customer(stack, options.customer, options.output, on_progress)
    if options.json:
        _print_json({"stack": stack.name, "file": str(options.output), "found": data.counts})
        return 0
    _show_counts(f"Data of {options.customer}", data.counts)
    console.print("Written, readable by you only:", options.output)
    return 0


def _erase_customer(stack: Stack, options: argparse.Namespace) -> int:
    with progress() as on_progress:
        erasure = erase_customer(stack, options.customer, dry_run=options.dry_run, on_progress=on_progress)
    if options.json:
        _print_json({"stack": stack.name, "dryRun": options.dry_run, **asdict(erasure)})
        return 0
    _show_counts(f"Data of {options.customer}", erasure.found)
    if options.dry_run:
        console.print("Nothing was deleted.")
    elif not erasure.pseudonym:
        console.print(f"There is no data about {options.customer}.")
    else:
        console.print(f"[green]✓[/] Erased. Orders and amounts are kept under {erasure.pseudonym}.")
        console.print("Backups, logs and dead letters: docs/how-to/erase-a-customer.md.")
    return 0


def _show_counts(title: str, counts: Mapping[str, int]) -> None:
    shown = table(title, "", right=("number",))
    for name, number in counts.items():
        shown.add_row(name, f"{number:,}")
    console.print(shown)


def _next(command: str, stack: Stack) -> str:
    return f"make {command}{stack.suffix}"


def _print_json(value: dict[str, Any]) -> None:
    print(json.dumps(value, indent=2))


if __name__ == "__main__":
    sys.exit(main())
