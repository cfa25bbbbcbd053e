"""`python -m order_capture_ops COMMAND`: see `--help`.

Exit codes: 0 all is well; 1 something is not, and is listed; 2 it could not be found out.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.markup import escape

from order_capture_ops import dead_letters, logs, stack, status
from order_capture_ops.audit import PATIENCE, Difference, audit
from order_capture_ops.cli import (
    FAILED,
    UNKNOWN,
    Parser,
    age,
    block,
    console,
    count_of,
    identifier,
    moment,
    not_negative,
    positive,
    progress,
    table,
    time_text,
    whole,
)
from order_capture_ops.cli import run as run_command
from order_capture_ops.errors import UsageError
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

MOST_MESSAGES = 1_000_000_000


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    options = _parser().parse_args(arguments)
    return run_command(
        lambda: int(options.command(stack.find(options.stack), options)), failed=options.failed
    )


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m order_capture_ops",
        description="Audit the books, redrive dead letters, republish states and events, see what is stuck.",
        example="make status, or make audit STACK=order-capture-dev",
        epilog="Exit codes: 0 all is well, 1 something is not and is listed, 2 it could not be found out.",
    )
    common = Parser(add_help=False)
    common.add_argument(
        "--stack",
        metavar="NAME",
        help="a stack on AWS, in the account and region of your profile (default: the local engine's)",
    )
    common.add_argument("--json", action="store_true", help="for scripts")
    # Where an exit code of 1 says that something is wrong, 2 says that it could not be found out.
    common.set_defaults(failed=UNKNOWN)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser(
        "status",
        parents=[common],
        example="make status, or make status STACK=order-capture-dev",
        help="queues, dead letters and why they are there, alarms, open orders, at one look",
        description="Shows queues, dead letters with their reasons, alarms, open orders and consumers, and "
        "what to do next. Exits 1 if something needs attention.",
    )
    command.add_argument(
        "--limit",
        type=whole(1, 1000),
        default=10,
        metavar="N",
        help="dead letters shown of each queue (%(default)s)",
    )
    command.set_defaults(command=_status)

    command = commands.add_parser(
        "logs",
        parents=[common],
        example="make logs FUNCTION=order_update SINCE=10m, or make logs ORDER=<id>",
        help="what the functions wrote to their logs, oldest first",
        description="Prints the functions' logs, oldest first; with --json a JSON object for each line.",
    )
    command.add_argument("--function", default="", metavar="NAMES", help="only these: order_api, OrderApi, …")
    command.add_argument("--order", type=identifier, metavar="ID", help="all that concerns this order")
    command.add_argument("--since", type=moment, metavar="TIME", help="10m, 2h, 3d, or 2026-11-20T10:00Z")
    command.add_argument(
        "--lines", type=whole(1, 1_000_000), default=200, metavar="N", help="the newest N (%(default)s)"
    )
    command.add_argument("--follow", action="store_true", help="keep on until Ctrl-C")
    command.set_defaults(command=_logs, failed=FAILED)

    command = commands.add_parser(
        "audit",
        parents=[common],
        example="make audit, or make audit STACK=order-capture-dev",
        help="replay every ledger and compare it with the heads and the orders",
        description="Replays every ledger and compares it with head and orders. Exits 1 if they differ.",
    )
    command.add_argument(
        "--patience",
        type=not_negative,
        default=PATIENCE,
        metavar="SECONDS",
        help="how long what may still be on its way is looked at again (default: %(default).0f)",
    )
    command.set_defaults(command=_audit)

    command = commands.add_parser(
        "redrive",
        parents=[common],
        example="make redrive QUEUE=order_update RATE=10",
        help="move the messages of a dead-letter queue back to where they came from",
        description="Moves dead letters back to the queue they came from. Exits 1 if some are left.",
    )
    command.add_argument(
        "queue", nargs="?", metavar="QUEUE", help="order_update, OrderUpdateDlq, OrderTopicDlq, …"
    )
    command.add_argument("--dry-run", action="store_true", help="show what is there, and leave it there")
    command.add_argument("--rate", type=positive, metavar="N", help="at most N messages a second")
    command.add_argument(
        "--limit", type=whole(1, MOST_MESSAGES), metavar="N", help="at most N messages in all"
    )
    command.add_argument("--force", action="store_true", help="move what is no message of ours as well")
    command.set_defaults(command=_redrive)

    command = commands.add_parser(
        "republish",
        parents=[common],
        example="make republish RATE=100, or DRY_RUN=1 to count them",
        help="publish again how every account and product stands",
        description="Publishes the state of accounts and stock again, for those who keep copies. Exits 1 if "
        "some could not be read or sent.",
    )
    which = command.add_mutually_exclusive_group()
    which.add_argument("--accounts", action="store_true", help="only those of accounts")
    which.add_argument("--stock", action="store_true", help="only those of products")
    which.add_argument("--all", action="store_true", help="both (the default)")
    command.add_argument("--dry-run", action="store_true", help="count them, and publish nothing")
    command.add_argument("--rate", type=positive, metavar="N", help="at most N states a second")
    command.set_defaults(command=_republish)

    command = commands.add_parser(
        "republish-events",
        parents=[common],
        example="make republish-events SINCE=2h RATE=100",
        help="publish again what happened to orders",
        description="Publishes the events of orders again: of those that are named, or all since a time. "
        "Exits 1 if some could not be read or sent.",
    )
    command.add_argument(
        "orders", nargs="*", type=identifier, metavar="ORDERS", help="their ids (default: every order)"
    )
    command.add_argument(
        "--since",
        type=time_text,
        metavar="TIME",
        help="only what happened then or later: 2026-11-20T10:00Z",
    )
    command.add_argument("--dry-run", action="store_true", help="count them, and publish nothing")
    command.add_argument("--rate", type=positive, metavar="N", help="at most N events a second")
    command.set_defaults(command=_republish_events)

    command = commands.add_parser(
        "stuck",
        parents=[common],
        example="make stuck, or make stuck STACK=order-capture-dev",
        help="list what is open, and why",
        description="Lists the orders that are open, oldest first, with what each waits for.",
    )
    command.set_defaults(command=_stuck)

    command = commands.add_parser(
        "watch",
        parents=[common],
        example='make watch ORDERS="id id"',
        help="have the watchdog look at orders now, and drive them on",
        description="Puts orders under the watchdog's eyes again: those named, or all that are open.",
    )
    command.add_argument(
        "orders", nargs="*", type=identifier, metavar="ORDERS", help="their ids (default: all open ones)"
    )
    command.set_defaults(command=_watch)

    command = commands.add_parser(
        "rebuild-history",
        parents=[common],
        example="make rebuild-history DRY_RUN=1",
        help="write what the ledgers have and their history has not",
        description="Writes the history's missing lines. Exits 1 if some can't be found out.",
    )
    command.add_argument("--dry-run", action="store_true", help="count them, and write nothing")
    command.set_defaults(command=_rebuild_history)

    command = commands.add_parser(
        "check-reports",
        parents=[common],
        example="make check-reports, or make check-reports STACK=order-capture-dev",
        help="compare the daily reports with the orders",
        description="Compares the daily reports with the orders, event by event. Exits 1 if they differ.",
    )
    command.add_argument(
        "--patience",
        type=not_negative,
        default=REPORTS_PATIENCE,
        metavar="SECONDS",
        help="how long an event may take to be counted (default: %(default).0f)",
    )
    command.set_defaults(command=_check_reports)

    command = commands.add_parser(
        "rebuild-reports",
        parents=[common],
        example="make rebuild-reports, or make rebuild-reports STACK=order-capture-dev",
        help="build the daily reports anew from the orders, while everything runs",
        description="Builds the daily reports anew from the orders. Until it is done, the old ones are read.",
    )
    command.set_defaults(command=_rebuild_reports)
    return parser


def _audit(where: Stack, options: argparse.Namespace) -> int:
    tables = Tables.of(where)
    deadline = float(where.parameters.get(DEADLINE_PARAMETER, 900))
    with progress() as tick:
        for ledger in tables.ledgers:
            tick(f"{ledger.noun} entries", 0, ledger.size())
        tick("orders", 0, tables.orders.size())
        report = audit(tables, deadline, options.patience, tick)
    if options.json:
        _print_json({"stack": where.name, "ok": not report.differences, **asdict(report)})
        return 1 if report.differences else 0
    shown = table(f"The books of {where.name}", "", right=("number",))
    shown.add_row("accounts", f"{report.accounts:,}")
    shown.add_row("products", f"{report.products:,}")
    if report.deleted:
        shown.add_row("deleted", f"{report.deleted:,}")
    shown.add_row("ledger entries", f"{report.entries:,}")
    shown.add_row("orders", f"{sum(report.orders.values()):,}")
    for order_status, number in sorted(report.orders.items()):
        shown.add_row(f"  {order_status}", f"{number:,}")
    console.print(shown)
    if not report.differences:
        console.print("[green]✓[/] The books add up: ledgers, heads and orders agree.")
        return 0
    _print_differences(report.differences)
    return 1


def _print_differences(differences: Sequence[Difference]) -> None:
    for each in differences:
        block(f"{each.entity}: {each.what}", f"expected {each.expected}", f"found    {each.found}")
    console.print(f"[red]✗[/] Differences: {len(differences):,}")


def _redrive(where: Stack, options: argparse.Namespace) -> int:
    sqs = where.client("sqs")
    if not options.queue:
        known = {dlq.name: dead_letters.count(sqs, dlq) for dlq in dead_letters.queues(where)}
        counts = ", ".join(f"{name} {number}" for name, number in known.items() if number)
        empty = ", ".join(name for name, number in known.items() if not number)
        raise UsageError(
            f"QUEUE is missing. Dead letters now: {counts or 'none'}. Empty: {empty}.\n"
            "For example: make redrive QUEUE=order_update DRY_RUN=1"
        )
    dlq = dead_letters.queue(where, options.queue)
    if options.dry_run:
        with progress() as tick:
            tick(dlq.name, 0, dead_letters.count(sqs, dlq))
            letters = dead_letters.peek(sqs, dlq, options.limit, lambda number: tick(dlq.name, number))
        if options.json:
            _print_json({"queue": dlq.name, "letters": [asdict(letter) for letter in letters]})
            return 0
        for letter in letters:
            block(
                letter.message_id,
                letter.type or "not a message of ours",
                f"order {letter.order_id}" if letter.order_id else "",
                f"{age(letter.age)} old, received {letter.receives} times",
            )
        console.print(f"Messages in {dlq.name}: {len(letters):,}. Nothing was moved.")
        return 0
    with progress() as tick:
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
            console.print(
                "[red]Left, being no messages of ours (`make status` says why, ARGS=--force moves them):[/] "
                f"{moved.not_ours}"
            )
        if moved.failed:
            console.print(f"[red]Left, since they could not be sent (run it again):[/] {moved.failed}")
    return 1 if moved.not_ours or moved.failed else 0


def _republish(where: Stack, options: argparse.Namespace) -> int:
    tables = Tables.of(where)
    skipped = (options.stock and tables.accounts, options.accounts and tables.stock)
    ledgers = [ledger for ledger in tables.ledgers if ledger not in skipped]
    with progress() as tick:
        for ledger in ledgers:
            tick(f"{ledger.noun} entries", 0, ledger.size())
        done = {
            ledger.noun: republish(where, ledger, rate=options.rate, dry_run=options.dry_run, tick=tick)
            for ledger in ledgers
        }
    unreadable = [f"{noun} {entity}" for noun, each in done.items() for entity in each.unreadable]
    refused = [f"{noun} {entity}" for noun, each in done.items() for entity in each.refused]
    if options.json:
        counts = {noun: asdict(each) for noun, each in done.items()}
        _print_json({"stack": where.name, "published": not options.dry_run, "ledgers": counts})
        return 1 if unreadable or refused else 0
    for noun, each in done.items():
        console.print(f"States of {noun}s: {each.states:,}, of which deleted: {each.deleted:,}")
    if not refused:
        console.print("Nothing was published." if options.dry_run else "All of them are published.")
    return _passed_over(unreadable, refused)


def _republish_events(where: Stack, options: argparse.Namespace) -> int:
    if not options.orders and not options.since:
        # Whoever follows forgets after a while what it has heard: nobody wants the events of years.
        raise UsageError(
            "Say which orders (ORDERS), or since when (SINCE).\n"
            "For example: make republish-events SINCE=2h DRY_RUN=1"
        )
    with progress() as tick:
        done = republish_events(
            where, options.orders, options.since or "", rate=options.rate, dry_run=options.dry_run, tick=tick
        )
    if options.json:
        _print_json({"stack": where.name, "published": not options.dry_run, **asdict(done)})
        return 1 if done.unreadable or done.refused else 0
    console.print(f"Events: {done.events:,}, of orders: {done.orders:,}")
    if not done.refused:
        console.print("Nothing was published." if options.dry_run else "All of them are published.")
    return _passed_over(done.unreadable, done.refused)


def _stuck(where: Stack, options: argparse.Namespace) -> int:
    tables = Tables.of(where)
    sqs, dlqs = where.client("sqs"), dead_letters.queues(where)
    unreadable: list[str] = []
    with progress() as tick:
        tick("orders", 0, tables.orders.size())
        found = stuck(tables, sqs, dlqs, tick, unreadable)
    if options.json:
        orders = [asdict(order) for order in found]
        _print_json({"stack": where.name, "open": orders, "unreadable": unreadable})
        return 1 if unreadable else 0
    if not found:
        letters = sum(dead_letters.count(sqs, dlq) for dlq in dlqs)
        console.print(
            f"Nothing is open. {count_of(letters, 'dead letter')}: {_next('status', where)} says why."
            if letters
            else "Nothing is open."
        )
        return _passed_over(unreadable)
    for order in found:
        block(
            order.order_id,
            f"{order.status}, placed {age(order.age)} ago",
            *(f"waits for {reason}" for reason in order.waits_for),
            *(f"dead letter in {letter}" for letter in order.dead_letters),
        )
    console.print(f"Open orders in {where.name}: {len(found):,}")
    return _passed_over(unreadable)


def _watch(where: Stack, options: argparse.Namespace) -> int:
    unreadable: list[str] = []
    with progress() as tick:
        orders = watch(where, options.orders, tick, unreadable)
    if options.json:
        watched = [order.order_id for order in orders]
        _print_json({"stack": where.name, "watched": watched, "unreadable": unreadable})
        return 1 if unreadable else 0
    console.print(f"Orders that are looked at now: {len(orders)}")
    return _passed_over(unreadable)


def _rebuild_history(where: Stack, options: argparse.Namespace) -> int:
    tables = Tables.of(where)
    with progress() as tick:
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
    with progress() as tick:
        report = check_reports(where, options.patience, tick)
    if options.json:
        _print_json({"stack": where.name, "ok": not report.differences, **asdict(report)})
        return 1 if report.differences else 0
    if report.differences:
        _print_differences(report.differences)
        return 1
    console.print(
        f"[green]✓[/] The reports are those of the orders: {report.orders:,} orders, "
        f"{report.events:,} events, {report.rows:,} rows."
    )
    return 0


def _rebuild_reports(where: Stack, options: argparse.Namespace) -> int:
    with progress() as tick:
        rebuilt = rebuild_reports(where, tick)
    if options.json:
        _print_json({"stack": where.name, **asdict(rebuilt)})
        return 1 if rebuilt.unreadable else 0
    console.print(f"Built anew: {rebuilt.events:,} events of {rebuilt.orders:,} orders.")
    return _passed_over(rebuilt.unreadable)


def _passed_over(unreadable: Sequence[str], refused: Sequence[str] = ()) -> int:
    """Name what a command could not do its work for; returns its exit code."""
    for reason, ids in (("they can't be read", unreadable), ("SNS refuses them", refused)):
        if ids:
            console.print(f"[red]Left out, since {reason}:[/] {escape(', '.join(ids))}")
    return 1 if unreadable or refused else 0


def _status(where: Stack, options: argparse.Namespace) -> int:
    with progress() as tick:
        found = status.status(where, options.limit, tick)
    if options.json:
        _print_json({"stack": where.name, "ok": not found.attention, **asdict(found)})
    else:
        status.show(found, where)
    return 1 if found.attention else 0


def _logs(where: Stack, options: argparse.Namespace) -> int:
    return logs.show(
        where,
        functions=options.function,
        order_id=options.order,
        since=options.since,
        lines=options.lines,
        follow=options.follow,
        raw=options.json,
    )


def _next(command: str, where: Stack) -> str:
    return f"make {command}{where.suffix}"


def _print_json(value: dict[str, Any]) -> None:
    print(json.dumps(value, indent=2))


if __name__ == "__main__":
    sys.exit(main())
