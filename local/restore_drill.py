"""`make restore-drill`: restore a stack's tables, on a separate engine, and put them back in service.

The engine keeps no past: it restores a table's current state. So the tables are restored one at a time during
orders, some seconds apart: a transaction over several of them is then in some and not in others, as may
happen on AWS. The other steps are those of docs/how-to/restore.md, with the same functions.
"""

from __future__ import annotations

import contextlib
import random
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from local import stack as stacks
from local.console import console, step
from local.engine import fresh, require_free
from local.tokens import Tokens
from order_capture_ops.audit import AuditReport, audit
from order_capture_ops.cli import FAILED, Parser, integer_between, port, run, table
from order_capture_ops.errors import CommandError
from order_capture_ops.history import MIN_AGE_SECONDS, rebuild
from order_capture_ops.recheck import recheck
from order_capture_ops.reports import check_reports, rebuild_reports
from order_capture_ops.republish import republish
from order_capture_ops.restore.__main__ import show
from order_capture_ops.restore.reconcile import reconcile
from order_capture_ops.restore.tables import (
    configure,
    import_stack,
    moment_of,
    plan,
    restore_table,
    restored_tables,
    wait_until_restored,
)
from order_capture_ops.stack import Stack, described, located
from order_capture_ops.tables import Tables

CUSTOMERS, PRODUCTS = ("alice", "bob", "carol"), ("pen", "ink", "mug")
CREDIT, UNITS = 100_000, 50_000
MAX_ATTEMPTS = 20
TOO_MANY = 100_000  # units of a line, the most that the contract allows
LEAST_ORDERS = 40  # before the first table is restored
DEADLINE = 900.0  # OrderDeadlineSeconds
_REST_SECONDS = 300.0  # seconds suffice, unless the machine is busy
_OVER = ("SHIPPED", "REJECTED", "CANCELLED", "EXPIRED")


class DrillError(CommandError):
    """The drill had an unexpected result."""


@dataclass
class Traffic:
    """A client that places orders, cancels some, and orders too much, until it is stopped."""

    api: httpx.Client
    chance: random.Random
    placed: list[str] = field(default_factory=list)
    failed: list[Exception] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def order(self, customer: str, product: str, qty: int, total: int) -> str:
        """Place an order; returns its id."""
        line, key = {"productId": product, "qty": qty}, str(uuid.uuid4())
        body = {"customerId": customer, "items": [line], "totalAmount": total}
        for _ in range(
            MAX_ATTEMPTS
        ):  # a busy machine is unavailable now and then; the key prevents a second order
            answer = self.api.post("/order", json=body, headers={"Idempotency-Key": key})
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
        if answer.status_code != httpx.codes.ACCEPTED:
            raise DrillError(f"POST /order was answered with {answer.status_code}: {answer.text}")
        order_id = str(answer.json()["orderId"])
        self.placed.append(order_id)
        return order_id

    def run(self) -> None:
        """One order at a time: most ship, some are rejected, some are cancelled while open."""
        while not self._stop.is_set():
            customer, product = self.chance.choice(CUSTOMERS), self.chance.choice(PRODUCTS)
            qty = TOO_MANY if self.chance.random() < 0.2 else self.chance.randint(1, 3)
            order_id = self.order(customer, product, qty, self.chance.randint(1, 20))
            if self.chance.random() < 0.2:
                self.api.post(f"/order/{order_id}/cancel")

    @contextlib.contextmanager
    def going_on(self) -> Iterator[None]:
        """Place orders during this block, as two clients."""

        def work() -> None:
            try:
                self.run()
            except (httpx.HTTPError, CommandError) as error:
                self.failed.append(error)

        workers = [threading.Thread(target=work, daemon=True) for _ in range(2)]
        for worker in workers:
            worker.start()
        try:
            yield
        finally:
            self._stop.set()
            for worker in workers:
                worker.join()
        self.check()

    def check(self) -> None:
        """Raise the error that stopped the load, if any."""
        if self.failed:
            raise DrillError(f"The load stopped: {self.failed[0]}") from self.failed[0]


def main(arguments: list[str] | None = None) -> int:
    """Run the drill; returns 1 if the books do not add up at its end."""
    parser = Parser(prog="make restore-drill", description=__doc__, example="make restore-drill SEED=7")
    parser.add_argument("--port", type=port, help="port of the engine (default: a free one)")
    parser.add_argument(
        "--seed",
        type=integer_between(0, 1_000_000),
        help="seed for the orders and for each table's restore time",
    )
    options = parser.parse_args(arguments)
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1_000_000)
    if options.port:
        require_free(options.port)
    return run(lambda: drill(seed, options.port), failed=FAILED)


def drill(seed: int, at_port: int | None = None) -> int:
    """Run all steps; returns the exit code."""
    console.print(f"Restore drill, SEED={seed}")
    chance = random.Random(seed)  # nosec B311 # no secret
    with fresh(port=at_port) as engine, tempfile.TemporaryDirectory() as logs:
        with step("Deploying a stack"):
            description = stacks.deploy(engine, Path(logs) / "deploy.log")
        deployed, clients = described(description), located(description).client
        traffic = Traffic(service_client(description), chance)
        open_shop(traffic.api)
        planned = plan(deployed, datetime.now(UTC) - timedelta(seconds=1))
        order = chance.sample([*planned.targets], len(planned.targets))
        with traffic.going_on():
            with step(f"Placing orders until there are {LEAST_ORDERS}, in every status"):
                _until(lambda: traffic.failed or _is_mixed(Tables.of(deployed)), "orders")
            for name in order:
                pause = chance.uniform(0.2, 2.0)
                with step(f"Restoring {name} to a time {pause:.1f} s later, under load"):
                    time.sleep(pause)
                    restore_table(clients("dynamodb"), planned, name)
        wait_until_restored(clients("dynamodb"), planned)
        tables = restored_tables(clients, planned)
        with step("Deleting the damaged stack; its tables stay"):
            _delete(clients("cloudformation"), planned.stack)
        with step("Auditing the restored tables"):
            before = audit(tables, DEADLINE, grace_period=0)
        _print_orders(before)
        console.print(f"  Contradictions between the tables: {len(before.differences)} differences")
        with step("Making the ledgers agree with the orders"):
            found = reconcile(tables, moment_of(planned))
        show(found)
        if found.undecided:
            return 1
        with step("Auditing them again"):
            _require_clean(audit(tables, DEADLINE, grace_period=0), "The restored tables")
        with step("Enabling streams, expiry, recovery; importing tables and user pool into a stack"):
            configure(clients("dynamodb"), planned)
            import_stack(clients("cloudformation"), planned)
        with step("Deploying the other resources"):
            description = stacks.deploy(engine, Path(logs) / "deploy-again.log")
        back = described(description)
        restored = {back.output(f"{name}Name") for name in planned.targets}
        if restored != {*planned.targets.values()}:
            raise DrillError(
                f"The stack does not use the restored tables, but {', '.join(sorted(restored))}."
            )
        return _back_in_service(back, description, chance)


def _back_in_service(stack: Stack, description: Mapping[str, str], chance: random.Random) -> int:
    tables = Tables.of(stack)
    with step("Having the watchdog recheck the open orders"):
        ids = recheck(stack, [], scan=True)
        _until(lambda: not _open(tables), "the open orders")
    console.print(f"  {len(ids)} orders were open, and have ended")
    with step("Publishing the states of accounts and stock again"):
        published = sum(republish(stack, ledger).states for ledger in tables.ledgers)
    console.print(f"  {published} states")
    with step("A new order ships"):
        traffic = Traffic(service_client(description), chance)
        order_id = traffic.order("alice", "pen", 1, 1)
        _until(lambda: order_statuses(tables).get(order_id) == "SHIPPED", f"order {order_id}")
    with step(f"Waiting {MIN_AGE_SECONDS} s: the history leaves the last minute to its stream"):
        time.sleep(MIN_AGE_SECONDS + 1)
    with step("Rebuilding history and reports"):
        history = rebuild(tables)
        rebuild_reports(stack)
    console.print(f"  {history.records} history records")
    with step("Auditing everything"):
        _require_clean(audit(tables, DEADLINE), "The stack")
        if history.left:
            raise DrillError(f"The history is incomplete: {history.left[0]}")
        if wrong := check_reports(stack).differences:
            raise DrillError(f"The reports differ from the orders: {wrong[0]}")
    counts = Counter(order_statuses(tables).values())
    console.print(f"Orders: {', '.join(f'{number} {status}' for status, number in sorted(counts.items()))}")
    console.print("[green]✓[/] Back in service, and the books add up.")
    return 0


def service_client(description: Mapping[str, str]) -> httpx.Client:
    """A client of the API, with a token with all scopes."""
    token = Tokens(description).of_service()
    return httpx.Client(
        base_url=description["apiUrl"],
        headers={"Authorization": f"Bearer {token}"},
        timeout=60,
        trust_env=False,
    )


def open_shop(api: httpx.Client) -> None:
    """Create the customers and products.

    Raises:
        DrillError: one of them could not be created.
    """
    opened = [api.post("/account", json={"customerId": name, "balance": CREDIT}) for name in CUSTOMERS]
    opened += [api.post("/stock", json={"productId": name, "balance": UNITS}) for name in PRODUCTS]
    if failed := [answer for answer in opened if answer.status_code != httpx.codes.OK]:
        raise DrillError(f"The shop did not open: {failed[0].status_code} {failed[0].text}")


def _delete(cloudformation: Any, name: str) -> None:
    (stack,) = cloudformation.describe_stacks(StackName=name)["Stacks"]
    cloudformation.delete_stack(StackName=name)

    def deleted() -> bool:
        (found,) = cloudformation.describe_stacks(StackName=stack["StackId"])["Stacks"]
        return bool(found["StackStatus"] == "DELETE_COMPLETE")

    _until(deleted, "the deletion of the stack")


def order_statuses(tables: Tables) -> dict[str, str]:
    """The status of every order, by its id."""
    return {
        item["orderId"]["S"]: item["status"]["S"]
        for page in tables.orders.pages()
        for item in page
        if "status" in item
    }


def _is_mixed(tables: Tables) -> bool:
    statuses = [*order_statuses(tables).values()]
    return len(statuses) >= LEAST_ORDERS and {"SHIPPED", "REJECTED", "CANCELLED", "PENDING"} <= {*statuses}


def _open(tables: Tables) -> Sequence[str]:
    return [order_id for order_id, status in order_statuses(tables).items() if status not in _OVER]


def _until(done: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + _REST_SECONDS
    while not done():
        if time.monotonic() > deadline:
            raise DrillError(f"Still waiting for {what} after {_REST_SECONDS:.0f} s.")
        time.sleep(0.5)


def _print_orders(report: AuditReport) -> None:
    shown = table("Restored orders", "status", right=("number",))
    for status, number in sorted(report.orders.items()):
        shown.add_row(status, f"{number:,}")
    console.print(shown)


def _require_clean(report: AuditReport, what: str) -> None:
    if report.differences:
        each = report.differences[0]
        raise DrillError(
            f"{what}: {len(report.differences)} differences. {each.entity}: {each.what}: "
            f"expected {each.expected}, found {each.found}"
        )


if __name__ == "__main__":
    sys.exit(main())
