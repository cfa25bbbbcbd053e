"""Sixteen concurrent workers on DynamoDB Local, AWS's own engine: no overselling, and the books add up."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from functools import partial
from threading import Barrier
from typing import Any, TypeVar

import pytest

from order_capture.adapters.system import backoff, clock
from order_capture.application.idempotency import Answered, RequestKey
from order_capture.application.ledger.adjust_balance import AdjustBalance, BalanceRequest
from order_capture.application.ledger.check_orders import CheckOrders
from order_capture.application.ledger.hot_heads import HotHeads
from order_capture.application.messages import CheckOrder, Message, OrderChecked, ReleaseOrder
from order_capture.application.orders.cancel_order import CancelOrder
from order_capture.application.orders.decide_orders import DecideOrders
from order_capture.application.orders.ship_orders import ShipOrders
from order_capture.application.retry import Retry
from order_capture.application.webhooks.manage_webhooks import MAX_WEBHOOKS, ManageWebhooks
from order_capture.domain.errors import TransientError, WebhookLimitError
from order_capture.domain.ledger import (
    ACCOUNTS,
    STOCK,
    Adjustment,
    Balance,
    BalanceChange,
    Entry,
    hold_entry,
    replay,
)
from order_capture.domain.order import CheckResult, CheckType, Order, OrderDetails, OrderStatus, Outcome
from order_capture.domain.stripes import total
from order_capture.domain.webhooks import Webhook
from order_capture.entrypoints.http.webhook_responses import secret_view
from tests.support.factories import (
    NOW,
    SERVICE,
    check,
    checked,
    declined,
    details_of,
    held,
    in_status,
    placed,
    release,
    ship,
    webhook_of,
)
from tests.support.fakes import MemoryPublisher
from tests.support.stores import Stores, dynamo_stores, entries_among
from tests.support.tables import create_tables, dynamodb_client

THREADS = 16
STRIPES = 4
ROUNDS = 5
MAX_RECEIVES = 20
RETRY = Retry(backoff)

Result = TypeVar("Result")


@pytest.fixture(scope="module")
def clients(dynamodb_local_url: str) -> list[Any]:
    return [dynamodb_client(dynamodb_local_url) for _ in range(THREADS)]


@pytest.fixture
def world(clients: list[Any]) -> World:
    return World(clients)


class World:
    """New tables, and a worker with its own client for each thread."""

    def __init__(self, clients: list[Any]) -> None:
        self._client = clients[0]
        self._tables = create_tables(clients[0], f"-{uuid.uuid4()}")
        self.workers = [dynamo_stores(client, self._tables) for client in clients]
        self.stores = self.workers[0]

    def at_once(self, work: Callable[[Stores, int], Result]) -> list[Result]:
        """The results of `work` for each worker; all start at the same moment."""
        start = Barrier(THREADS)

        def run(number: int) -> Result:
            start.wait()
            return work(self.workers[number], number)

        with ThreadPoolExecutor(THREADS) as threads:
            return list(threads.map(run, range(THREADS)))

    def check_at_once(self, orders: Sequence[OrderDetails]) -> list[dict[str, CheckResult]]:
        """The answers, where each worker checks one of the orders."""
        return self.at_once(lambda stores, number: until_done(stores, [check(orders[number])]))

    def open_stock(self, **units: int) -> None:
        for product, balance in units.items():
            AdjustBalance(STOCK, self.stores.stock, clock, RETRY).adjust(set_to(product, balance))

    def stock_of(self, product: str) -> Balance:
        """A product's balance, after checking that its entries add up to it."""
        heads = self.stores.stock.heads(product)
        head = total(product, heads)
        assert head is not None
        assert min(min(each.balance, each.held, each.settled) for each in heads.values()) >= 0
        entries = self._entries(product)
        assert replay(entries) == head.balance
        adjusted = sum(entry.amount for entry in entries if isinstance(entry, Adjustment))
        assert adjusted == head.balance + head.held + head.settled
        return head

    def _entries(self, product: str) -> list[Entry]:
        table = self._tables["StockTable"]
        pages = self._client.get_paginator("scan").paginate(TableName=table, ConsistentRead=True)
        return entries_among((item for page in pages for item in page["Items"]), self.stores.stock, product)


def set_to(entity: str, balance: int) -> BalanceRequest:
    return BalanceRequest(entity, str(uuid.uuid4()), "", idempotent=False, balance=Decimal(balance))


def as_a_queue(work: Callable[[Any], set[str]], messages: Iterable[Message]) -> None:
    """Process messages as from a queue: failed ones are retried, and finally dead-lettered."""
    left = list(messages)
    for _ in range(MAX_RECEIVES):
        failed = work(left)
        left = [message for message in left if message.order_id in failed]
        if not left:
            return
    raise AssertionError(f"failed again and again: {left}")


def until_done(stores: Stores, messages: Iterable[CheckOrder | ReleaseOrder]) -> dict[str, CheckResult]:
    """The answers to a batch of a checker."""
    answers = MemoryPublisher()
    checks = CheckOrders(
        STOCK, stores.stock, frozenset, answers, clock, random.random, RETRY, HotHeads(), stripes=STRIPES
    )
    as_a_queue(checks.process, messages)
    return {m.order_id: m.decision for m in answers.sent if isinstance(m, OrderChecked)}


def number_held(answers: Iterable[dict[str, CheckResult]]) -> int:
    return sum(d.outcome is Outcome.HELD for decisions in answers for d in decisions.values())


@pytest.mark.parametrize("units", [1, 5, 15, 16])
def test_exactly_as_many_orders_are_held_as_there_are_units(world: World, units: int) -> None:
    for number in range(ROUNDS):
        pen = f"pen-{number}"
        world.open_stock(**{pen: units})
        orders = [details_of(f"order-{number}-{i}", items=((pen, 1),)) for i in range(THREADS)]

        answers = world.check_at_once(orders)

        stock = world.stock_of(pen)
        assert number_held(answers) == units
        assert [stock.balance, stock.held, stock.settled] == [0, units, 0]
        decisions = [decision for each in answers for decision in each.values()]
        assert {d.available for d in decisions if d.outcome is Outcome.DECLINED} <= {Decimal(0)}


def test_batches_of_ten_for_one_product_never_hold_more_than_there_is(world: World) -> None:
    world.open_stock(pen=100)

    answers = world.at_once(
        lambda stores, i: until_done(stores, [check(details_of(f"order-{i}-{n}")) for n in range(10)])
    )

    stock = world.stock_of("pen")
    assert number_held(answers) == 100
    assert [stock.balance, stock.held] == [0, 100]


def test_orders_of_several_products_named_in_any_order_get_all_or_nothing(world: World) -> None:
    names = ["cap", "ink", "nib", "pad", "pen"]
    for number in range(ROUNDS):
        products = [f"{name}-{number}" for name in names]
        world.open_stock(**dict.fromkeys(products, 5))
        chance = random.Random(number)
        orders = [
            details_of(f"order-{number}-{i}", items=tuple((p, 1) for p in chance.sample(products, 3)))
            for i in range(THREADS)
        ]

        answers = world.check_at_once(orders)

        outcomes = {order_id: d.outcome for each in answers for order_id, d in each.items()}
        for product in products:
            wanted = [o for o in orders if product in STOCK.required_amounts(o)]
            taken = sum(outcomes[o.order_id] is Outcome.HELD for o in wanted)
            stock = world.stock_of(product)
            assert [stock.balance, stock.held] == [5 - taken, taken]
        # Every declined order was declined by a sold-out product.
        for decisions in answers:
            for decision in decisions.values():
                if decision.outcome is Outcome.DECLINED:
                    assert decision.entity is not None
                    assert world.stock_of(decision.entity).balance == 0


def test_an_order_that_all_check_at_once_is_held_once_and_all_get_the_same_answer(world: World) -> None:
    world.open_stock(pen=5)

    answers = world.at_once(lambda stores, _: until_done(stores, [check()]))

    assert answers == [answers[0]] * THREADS
    assert world.stock_of("pen").held == 1


def test_checks_and_releases_of_the_same_orders_leave_nothing_held(world: World) -> None:
    world.open_stock(pen=50, ink=50)
    orders = [details_of(f"order-{i}", items=(("pen", 1), ("ink", 2))) for i in range(8)]

    def work(stores: Stores, number: int) -> None:
        make = (check, release)[number % 2]
        mine = random.Random(number).sample(orders, len(orders))
        until_done(stores, [make(details) for details in mine])

    world.at_once(work)

    for product in ("pen", "ink"):
        stock = world.stock_of(product)
        assert [stock.balance, stock.held] == [50, 0]


def test_an_order_that_all_ship_at_once_is_settled_once(world: World) -> None:
    orders = [details_of(f"order-{i}", customer_id=f"customer-{i % 2}") for i in range(10)]
    confirm(world, orders)

    def work(stores: Stores, number: int) -> None:
        messages = [ship(details) for details in random.Random(number).sample(orders, len(orders))]
        as_a_queue(ShipOrders(stores.shipments, clock, RETRY).process, messages)

    world.at_once(work)

    stock = world.stock_of("pen")
    assert [stock.held, stock.settled] == [0, 10]
    assert all(order.status is OrderStatus.SHIPPED for order in stored(world, orders))


def confirm(world: World, orders: Sequence[OrderDetails]) -> None:
    world.open_stock(pen=len(orders))
    until_done(world.stores, [check(details) for details in orders])
    world.stores.orders.add([in_status(OrderStatus.CONFIRMED, placed(details)) for details in orders])
    for customer in {details.customer_id for details in orders}:
        own = [details for details in orders if details.customer_id == customer]
        total = sum((details.total_amount for details in own), Decimal(0))
        holds = [hold_entry(ACCOUNTS, details, held(), {customer: customer}, NOW) for details in own]
        world.stores.accounts.write([BalanceChange(customer, held=total, expected=0)], holds, clock())


def insist(attempt: Callable[[], Result]) -> Result:
    """The response to a client that retries for as long as the response asks for it."""
    for _ in range(MAX_RECEIVES):
        try:
            return attempt()
        except TransientError:
            continue
    raise AssertionError("asked to come again and again")


def stored(world: World, orders: Sequence[OrderDetails]) -> list[Order]:
    return list(world.stores.orders.get_many([details.order_id for details in orders]).values())


def test_answers_about_one_order_from_all_sides_are_all_taken_in(world: World) -> None:
    orders = [details_of(f"order-{i}") for i in range(6)]
    world.stores.orders.add([placed(details) for details in orders])
    answer = {CheckType.BALANCE: held(), CheckType.STOCK: held("1", "pen")}
    bad = {CheckType.BALANCE: declined(), CheckType.STOCK: held("1", "pen")}
    for i, details in enumerate(orders):
        decided = answer if i % 2 else bad
        for kind, ledger in ((ACCOUNTS, world.stores.accounts), (STOCK, world.stores.stock)):
            entities = {entity: entity for entity in kind.required_amounts(details)}
            ledger.write([], [hold_entry(kind, details, decided[kind.check], entities, NOW)], NOW)

    def work(stores: Stores, number: int) -> None:
        side = list(CheckType)[number % 2]
        messages = [
            checked(side, (answer if i % 2 else bad)[side], details.order_id)
            for i, details in enumerate(orders)
        ]
        ledgers = {CheckType.BALANCE: stores.accounts, CheckType.STOCK: stores.stock}
        use_case = DecideOrders(stores.orders, ledgers, MemoryPublisher(), MemoryPublisher(), clock, RETRY)
        as_a_queue(use_case.process, messages)

    world.at_once(work)

    assert {order.order_id: order.status for order in stored(world, orders)} == {
        details.order_id: OrderStatus.CONFIRMED if i % 2 else OrderStatus.REJECTED
        for i, details in enumerate(orders)
    }
    assert all(set(order.checks) == set(CheckType) and order.version == 3 for order in stored(world, orders))


def add(batch: Sequence[Order], stores: Stores, _: int) -> Mapping[str, Order | None]:
    return stores.orders.add(batch)


def test_the_same_order_sent_by_all_at_once_is_written_once(world: World) -> None:
    for many in (1, 10):
        batch = [placed(details_of(f"order-{many}-{i}")) for i in range(many)]

        existing = world.at_once(partial(add, batch))

        assert sum(order.order_id not in known for known in existing for order in batch) == many


def test_adjustments_by_all_at_once_are_all_counted(world: World) -> None:
    world.open_stock(pen=0)

    def work(stores: Stores, number: int) -> None:
        for _ in range(2):
            change = BalanceRequest("pen", str(uuid.uuid4()), "", idempotent=False, adjust=Decimal(number))
            insist(partial(AdjustBalance(STOCK, stores.stock, clock, RETRY).adjust, change))

    world.at_once(work)

    assert world.stock_of("pen").balance == 2 * sum(range(THREADS))


def test_an_adjustment_with_one_key_by_all_at_once_is_made_once(world: World) -> None:
    world.open_stock(pen=100)
    change = BalanceRequest("pen", "id-1", "print-1", idempotent=True, adjust=Decimal(-7))

    answers = world.at_once(
        lambda stores, _: insist(partial(AdjustBalance(STOCK, stores.stock, clock, RETRY).adjust, change))
    )

    assert sum(not answer.replayed for answer in answers) == 1
    assert {answer.head.balance for answer in answers} == {Decimal(93)}
    assert world.stock_of("pen").balance == 93


KEY = RequestKey("request-1", "print-1")


def new_webhook(customer: str = "alice") -> Webhook:
    return webhook_of(webhook_id=f"{customer}.{uuid.uuid4().hex}", customer_id=customer)


def managing(stores: Stores) -> ManageWebhooks:
    return ManageWebhooks(stores.webhooks, clock)


def register(stores: Stores, webhook: Webhook, key: RequestKey | None = None) -> Answered[Webhook] | None:
    """The response, or None if the customer has the maximum of webhooks."""
    try:
        return insist(partial(managing(stores).register, webhook, SERVICE, key))
    except WebhookLimitError:
        return None


def test_of_all_who_register_at_once_as_many_do_as_may(world: World) -> None:
    for customer in (f"customer-{number}" for number in range(ROUNDS)):
        answers = world.at_once(
            lambda stores, _, customer=customer: register(stores, new_webhook(customer))  # type: ignore[misc]
        )

        registered = [answer.value.webhook_id for answer in answers if answer]
        assert len(registered) == MAX_WEBHOOKS
        assert {each.webhook_id for each in world.stores.webhooks.of_customer(customer)} == {*registered}


def test_the_bound_of_webhooks_neither_breaks_nor_drifts_where_some_are_removed_meanwhile(
    world: World,
) -> None:
    # given workers that register and remove webhooks repeatedly, also with keys
    def work(stores: Stores, number: int) -> int:
        chance, mine, most = random.Random(number), list[Webhook](), 0
        for turn in range(8):
            key = RequestKey(f"{number}-{turn}", "") if chance.random() < 0.5 else None
            if mine and chance.random() < 0.5:
                webhook = mine.pop(chance.randrange(len(mine)))
                remove = partial(managing(stores).remove, webhook.webhook_id, SERVICE, key)
                for _ in range(1 if key is None else 2):
                    insist(remove)
            else:
                webhook = new_webhook()
                answers = [register(stores, webhook, key) for _ in range(1 if key is None else 2)]
                mine += [webhook] if answers[0] else []
            most = max(most, len(stores.webhooks.of_customer("alice")))
        return most

    # when
    most = max(world.at_once(work))
    # then there were never too many, and the free places are right
    assert most <= MAX_WEBHOOKS
    left = len(world.stores.webhooks.of_customer("alice"))
    free = [register(world.stores, new_webhook()) for _ in range(MAX_WEBHOOKS)]
    assert len([each for each in free if each]) == MAX_WEBHOOKS - left


def same(answers: Sequence[Answered[Result]]) -> Result:
    """What all were answered, one of them as the first."""
    assert sum(not answer.replayed for answer in answers) == 1
    values = [comparable(answer.value) for answer in answers]
    assert values == [values[0]] * THREADS
    return answers[0].value


def comparable(value: object) -> object:
    """Of a webhook, what its clients are shown."""
    return secret_view(value) if isinstance(value, Webhook) else value


def test_a_webhook_that_all_register_with_one_key_at_once_is_one(world: World) -> None:
    answers = world.at_once(lambda stores, _: register(stores, new_webhook(), KEY))

    webhook = same([answer for answer in answers if answer])
    assert [each.webhook_id for each in world.stores.webhooks.of_customer("alice")] == [webhook.webhook_id]


def test_a_secret_that_all_rotate_with_one_key_at_once_is_rotated_once(world: World) -> None:
    webhook = new_webhook()
    register(world.stores, webhook)

    def rotate(stores: Stores, number: int) -> Answered[Webhook]:
        return insist(
            partial(managing(stores).rotate_secret, webhook.webhook_id, SERVICE, f"whsec_{number}", KEY)
        )

    rotated = same(world.at_once(rotate))

    stored = world.stores.webhooks.get(webhook.webhook_id)
    assert stored is not None
    assert stored.secrets(clock()) == [rotated.secret, webhook.secret]


def test_a_webhook_that_all_remove_with_one_key_at_once_is_removed_once(world: World) -> None:
    webhook = new_webhook()
    register(world.stores, webhook)

    answers = world.at_once(
        lambda stores, _: insist(partial(managing(stores).remove, webhook.webhook_id, SERVICE, KEY))
    )

    assert same(answers).webhook_id == webhook.webhook_id
    assert list(world.stores.webhooks.of_customer("alice")) == []


def test_an_order_that_all_cancel_with_one_key_at_once_is_cancelled_once(world: World) -> None:
    world.stores.orders.add([placed()])

    def cancel(stores: Stores, _: int) -> Answered[Order]:
        return insist(
            partial(
                CancelOrder(stores.orders, MemoryPublisher(), clock, RETRY).cancel, "order-1", SERVICE, KEY
            )
        )

    assert same(world.at_once(cancel)) == world.stores.orders.get("order-1")
