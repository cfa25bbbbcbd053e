"""The clients: their requests, their retries, and the promises made to them (I5, I6, I9)."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import Any, Protocol

from order_capture.adapters.serializers import decimal_json
from order_capture.entrypoints.http.requests import deterministic_id
from tests.simulation.books import MOVES, TERMINAL, Books
from tests.support.factories import SERVICE

# Amounts whose sums are not exact in binary: 0.1 + 0.2, 10.1 + 20.2.
TOTALS = ("0.10", "0.20", "10.10", "20.20")
PRICES = ("0.00", "0.10", "0.20", "10.10")
CREDITS = ("0.20", "20.30", "40.40", "100.00", "100.00", "100.00")
GIVES_UP_AFTER = 3


@dataclass(frozen=True)
class Answer:
    """A client's response. If the process died or hangs, it is API Gateway's."""

    status: int
    body: Any = None


class Shop(Protocol):
    """The API for a client's task."""

    def ask(
        self, method: str, resource: str, path: Mapping[str, str], body: str | None, key: str | None
    ) -> Answer:
        """Send a request and wait for the response."""

    def sleep(self, milliseconds: int) -> None:
        """Do nothing for a while."""


Script = Callable[[Shop], None]


@dataclass
class Promises:
    """The clients' responses, compared with the books."""

    books: Books
    accepted: set[str] = field(default_factory=set)
    answers: dict[str, Any] = field(default_factory=dict)
    """By Idempotency-Key (and the place in a batch): the first answer of success."""
    sent: dict[str, set[str]] = field(default_factory=dict)
    """By Idempotency-Key: every body that was sent with it."""
    done: dict[str, str] = field(default_factory=dict)
    """By Idempotency-Key: the body of the request that was done."""
    adjusted: set[tuple[str, str]] = field(default_factory=set)
    """Each operation and key of an adjustment that was answered."""

    def of_request(self, key: str | None, body: str) -> None:
        """A request is about to be sent."""
        if key is not None:
            self.sent.setdefault(key, set()).add(body)

    def of_success(self, key: str | None, body: str) -> None:
        """A request was answered with 2xx."""
        if key is not None and self.done.setdefault(key, body) != body:
            self._break("I9", f"the key {key} was taken twice: {self.done[key]} and {body}")

    def of_order(self, order: Mapping[str, Any], key: str | None) -> None:
        """An order was answered with 202."""
        order_id = order["orderId"]
        self.accepted.add(order_id)
        if self.books.status(order_id) is None:
            self._break("I5", f"order {order_id} was accepted and is nowhere")
        self._one_answer(key, order)

    def of_adjustment(self, operation: str, head: Mapping[str, Any] | None, key: str | None) -> None:
        """An adjustment was answered with 200, or a deletion with 204."""
        if key is not None:
            self.adjusted.add((operation, key))
        self._one_answer(key, head)

    def of_refusal(self, answer: Answer, key: str | None, body: str) -> None:
        """A request with a key was answered with 4xx."""
        reused = key is not None and len(self.sent[key]) > 1
        if answer.status == 422 and not reused:
            self._break("I9", f"the key {key} is refused as reused: {body}")
        elif answer.status != 422 and key in self.answers:
            self._break("I9", f"what was done for key {key} is now {answer.status} {answer.body}")

    def of_cancelling(self, order_id: str, answer: Answer, key: str | None) -> None:
        """A cancellation was answered; its key is another one than the same key of the order."""
        status, own_key = self.books.status(order_id), key and f"cancel {key}"
        if answer.status == 200:
            self._one_answer(own_key, answer.body)
        elif answer.status < 500 and own_key in self.answers:
            self._break("I9", f"what was done for {own_key} is now {answer.status} {answer.body}")
        if answer.status == 200 and status != "CANCELLED":
            self._break("I6", f"order {order_id} was answered as cancelled, and is {status}")
        if answer.status == 409 and status not in TERMINAL:
            self._break("I6", f"order {order_id} was answered as over, and is {status}")

    def of_look(self, order_id: str, before: str, status: str) -> None:
        """A client saw a status, and another one before."""
        reachable = MOVES[before] | {after for each in MOVES[before] for after in MOVES[each]}
        if status not in reachable:
            self._break("I6", f"order {order_id} was {before}, and is {status} to its client")

    def unexpected(self, request: str, answer: Answer) -> None:
        """Record a response that no client should ever get."""
        self._break("I9", f"{request} was answered {answer.status} {answer.body}")

    def at_rest(self) -> None:
        """Every accepted order exists, every keyed adjustment was made once."""
        for order_id in self.accepted:
            if self.books.status(order_id) not in TERMINAL:
                self._break("I5", f"order {order_id} was accepted, and is {self.books.status(order_id)}")
        for operation, key in self.adjusted:
            if self.books.adjustments.get(deterministic_id(SERVICE, operation, key), 0) != 1:
                self._break("I9", f"the adjustment of key {key} was answered, and is not there once")
        for adjustment_id, times in self.books.adjustments.items():
            if times != 1:
                self._break("I9", f"adjustment {adjustment_id} was made {times} times")

    def _one_answer(self, key: str | None, answer: Mapping[str, Any] | None) -> None:
        if key is not None and self.answers.setdefault(key, answer) != answer:
            self._break("I9", f"the key {key} was answered {answer} after {self.answers[key]}")

    def _break(self, invariant: str, reason: str) -> None:
        self.books.broken.append(f"{invariant}: {reason}")


class Shopper:
    """A client of the API: it retries, and records the responses."""

    def __init__(self, shop: Shop, promises: Promises) -> None:
        self._shop = shop
        self._promises = promises

    def order(self, body: str, key: str | None) -> Any:
        """Place an order; return it, or None if it was not accepted."""
        return self.insist("/order", body, key, self._promises.of_order)

    def adjust(self, resource: str, body: str, key: str | None) -> Any:
        """Adjust a balance; return how it stands, or None."""
        return self.insist(resource, body, key, partial(self._promises.of_adjustment, f"POST {resource}"))

    def delete(self, resource: str, name: str, entity: str, key: str | None) -> None:
        """Delete a customer or a product."""
        route = f"{resource}/{{{name}}}"
        ask = partial(self._shop.ask, "DELETE", route, {name: entity}, None)
        self._insist(ask, f"DELETE {entity}", key, partial(self._promises.of_adjustment, f"DELETE {route}"))

    def insist(
        self,
        resource: str,
        body: str,
        key: str | None,
        done: Callable[[Mapping[str, Any], str | None], None],
    ) -> Any:
        """Retry a request until it is answered; without a key, only while it can't have had an effect."""
        return self._insist(partial(self._shop.ask, "POST", resource, {}, body), body, key, done)

    def _insist(
        self, ask: Callable[[str | None], Answer], body: str, key: str | None, done: Callable[..., None]
    ) -> Any:
        self._promises.of_request(key, body)
        for _ in range(GIVES_UP_AFTER):
            answer = ask(key)
            if answer.status in (200, 202, 204):
                self._promises.of_success(key, body)
                done(answer.body, key)
                return answer.body
            running = answer.status == 409 and answer.body["type"].endswith(":request-running")
            if answer.status < 500 and not running:
                self._promises.of_refusal(answer, key, body)
                return None
            if key is None and answer.status != 503:
                return None
            self._shop.sleep(1000)
        return None

    def cancel(self, order_id: str, key: str | None) -> None:
        """Cancel an order."""
        for _ in range(GIVES_UP_AFTER):
            answer = self._shop.ask("POST", "/order/{orderId}/cancel", {"orderId": order_id}, None, key)
            self._promises.of_cancelling(order_id, answer, key)
            if answer.status < 500:
                return
            self._shop.sleep(500)

    def look(self, order_id: str, before: str) -> str:
        """Read an order's status; `before` is the last one that was read."""
        answer = self._shop.ask("GET", "/order/{orderId}/status", {"orderId": order_id}, None, None)
        if answer.status >= 500:
            return before
        if answer.status != 200:
            self._promises.unexpected(f"a look at order {order_id}", answer)
            return before
        status = str(answer.body["status"])
        self._promises.of_look(order_id, before, status)
        return status


@dataclass(frozen=True)
class Opening:
    """The initial data: credit, units and the prices of some products, as text."""

    credit: Mapping[str, str]
    units: Mapping[str, str]
    prices: Mapping[str, str] = field(default_factory=dict)


class Crowd:
    """The clients of one schedule, drawn from `chance`."""

    def __init__(self, chance: random.Random, promises: Promises, *, rush: bool = False) -> None:
        """In a `rush`, several clients order the last units of one product at the same moment."""
        self._chance = chance
        self._promises = promises
        self._keys = 0
        self._rush = rush
        if rush:
            units = chance.choice(("4", "9", "40"))
            self.opening = Opening({"alice": chance.choice(("30.30", "40.40", "100.00"))}, {"pen": units})
            return
        customers = ("alice", "bob")[: chance.choice((1, 1, 2))]
        products = ("pen", "ink", "cap")[: chance.choice((1, 1, 2, 3))]
        self.opening = Opening(
            {customer: chance.choice(CREDITS) for customer in customers},
            {product: str(chance.choice((1, 2, 4, 9))) for product in products},
            _priced(chance, products) if chance.random() < 0.25 else {},
        )

    def scripts(self) -> list[Script]:
        """What each client does."""
        chance = self._chance
        if self._rush:
            orders = [self._order() for _ in range(chance.randint(3, 5))]
            return orders + [self._adjustment() for _ in range(chance.choice((0, 1)))]
        scripts = [
            self._batch() if chance.random() < 0.08 else self._order()
            for _ in range(chance.choices((1, 2, 3), (12, 3, 1))[0])
        ]
        scripts += [self._adjustment() for _ in range(chance.choice((0, 0, 0, 0, 1, 2)))]
        scripts += [self._repricing() for _ in range(chance.choice((0, 1, 2)))] if self.opening.prices else []
        scripts += self._newcomers() if chance.random() < 0.04 else []
        scripts += [self._deletion()] if chance.random() < 0.05 else []
        chance.shuffle(scripts)
        return scripts

    # What a client does

    def _order(self) -> Script:
        chance = self._chance
        body, key, arrives = self._order_body(), self._key(), self._soon()
        repeats = key is not None and chance.random() < 0.2
        changes_mind = chance.random() < 0.15
        cancels, attempts = chance.random() < 0.2, chance.random() < 0.2
        patience = self._soon() if chance.random() < 0.7 else chance.randint(50_000, 100_000)

        def script(shop: Shop) -> None:
            shopper = Shopper(shop, self._promises)
            shop.sleep(arrives)
            order = shopper.order(body, key)
            if repeats:
                shopper.order(body, key)
            if key is not None and changes_mind:
                shopper.order(self._order_body(), key)
            if order is None:
                return
            seen = order["status"]
            if attempts:
                seen = shopper.look(order["orderId"], seen)
            if cancels:
                shop.sleep(patience)
                for _ in range(1 + repeats):
                    shopper.cancel(order["orderId"], key)
            if attempts:
                shopper.look(order["orderId"], seen)

        return script

    def _batch(self) -> Script:
        orders = [self._order_body() for _ in range(2)]
        bodies = [_batch_of(orders)] * (1 + (self._chance.random() < 0.4))
        key, arrives = self._key(), self._soon()
        if (
            key is not None and self._chance.random() < 0.3
        ):  # something else, and one of it was not valid before
            bodies = [_batch_of([orders[0], "{}"]), *bodies]

        def taken_in(answer: Mapping[str, Any], key: str | None) -> None:
            for place, order in enumerate(answer["orders"]):
                if "problem" not in order:
                    self._promises.of_order(order, key and f"{key}[{place}]")

        def script(shop: Shop) -> None:
            shop.sleep(arrives)
            for body in bodies:
                Shopper(shop, self._promises).insist("/orders", body, key, taken_in)

        return script

    def _adjustment(self) -> Script:
        chance = self._chance
        key, arrives = self._key(), self._soon()
        resource, bodies = chance.choice(
            (
                ("/account", [self._change("customerId", self.opening.credit, ("0.10", "20.20", "-0.20"))]),
                ("/stock", [self._change("productId", self.opening.units, ("1", "2", "-1"))]),
            )
        )
        bodies += bodies if chance.random() < 0.5 else []
        if key is not None and chance.random() < 0.3:  # the same key, for another customer
            bodies.append(bodies[0].replace('Id":"', 'Id":"another-'))

        def script(shop: Shop) -> None:
            shop.sleep(arrives)
            for body in bodies:
                Shopper(shop, self._promises).adjust(resource, body, key)

        return script

    def _repricing(self) -> Script:
        """An operator changes or removes a price; then the product is ordered at the new one."""
        chance = self._chance
        product, key = chance.choice(list(self.opening.prices)), self._key()
        arrives = self._soon() if chance.random() < 0.7 else chance.randint(1_000, 50_000)
        price = chance.choice((*PRICES, "null"))
        units = ',"adjust":1' if chance.random() < 0.2 else ""
        body = f'{{"productId":"{product}","price":{price}{units}}}'
        repeats, orders, order_key = chance.random() < 0.3, chance.random() < 0.7, self._key()
        named, total = ("", "0.00") if price == "null" else (f',"unitPrice":{price}', price)
        order = (
            f'{{"customerId":"{chance.choice(list(self.opening.credit))}","totalAmount":{total},'
            f'"items":[{{"productId":"{product}","qty":1{named}}}]}}'
        )

        def script(shop: Shop) -> None:
            shopper = Shopper(shop, self._promises)
            shop.sleep(arrives)
            for _ in range(1 + repeats):
                shopper.adjust("/stock", body, key)
            if orders:
                shopper.order(order, order_key)

        return script

    def _newcomers(self) -> list[Script]:
        """Two clients that set the first balance of the same entity at the same moment."""

        def first(body: str, key: str | None) -> Script:
            return lambda shop: Shopper(shop, self._promises).adjust("/stock", body, key)

        return [first(f'{{"productId":"mug","balance":{units}}}', self._key()) for units in (3, 5)]

    def _deletion(self) -> Script:
        """An operator deletes an entity; then orders for it are rejected, and it may be created again."""
        chance = self._chance
        resource, name, entities = chance.choice(
            (("/account", "customerId", self.opening.credit), ("/stock", "productId", self.opening.units))
        )
        entity = chance.choice(list(entities))
        # Among the orders, or once they are over: while they hold something, it is refused.
        arrives = self._soon() if chance.random() < 0.4 else chance.randint(1_000, 5_000)
        keys = [self._key() for _ in range(3)]
        repeats, renewed = chance.random() < 0.3, chance.random() < 0.4
        wanted = {"customerId": chance.choice(list(self.opening.credit)), "productId": "pen", name: entity}
        order = (
            f'{{"customerId":"{wanted["customerId"]}","totalAmount":0.00,'
            f'"items":[{{"productId":"{wanted["productId"]}","qty":1}}]}}'
        )

        def script(shop: Shop) -> None:
            shopper = Shopper(shop, self._promises)
            shop.sleep(arrives)
            shopper.delete(resource, name, entity, keys[0])
            shopper.order(order, keys[1])
            if renewed:
                shopper.adjust(resource, f'{{"{name}":"{entity}","balance":1}}', keys[2])
            if repeats:
                shopper.delete(resource, name, entity, keys[0])

        return script

    # What it asks for

    def _order_body(self) -> str:
        chance = self._chance
        customer = chance.choice(list(self.opening.credit)) if chance.random() < 0.97 else "nobody"
        products = list(self.opening.units)
        lines = 1 if self._rush or chance.random() < 0.7 else chance.randint(2, 3)
        items: list[dict[str, Any]] = [
            {
                "productId": chance.choice(products) if chance.random() < 0.97 else "unicorn",
                "qty": chance.choice((1, 1, 1, 4, 5) if self._rush else (1, 1, 1, 2)),
            }
            for _ in range(lines)
        ]
        total: object = chance.choice(TOTALS)
        if self.opening.prices and chance.random() < 0.9:
            # At the prices that there were at first, or at others; those who name none pay what they like.
            of_all = {product: self.opening.prices.get(product, "0.10") for product in (*products, "unicorn")}
            if chance.random() < 0.3:
                of_all[chance.choice(products)] = chance.choice(PRICES)
            for item in items:
                item["unitPrice"] = Decimal(of_all[item["productId"]])
            total = sum(item["qty"] * item["unitPrice"] for item in items)
        return f'{{"customerId":"{customer}","items":{decimal_json.dumps(items)},"totalAmount":{total}}}'

    def _change(self, name: str, entities: Mapping[str, str], amounts: Sequence[str]) -> str:
        entity = self._chance.choice(list(entities))
        amount = self._chance.choice(amounts)
        sets = self._chance.random() < (0.6 if self._rush else 0.2)
        verb = "balance" if sets and not amount.startswith("-") else "adjust"
        return f'{{"{name}":"{entity}","{verb}":{amount}}}'

    def _key(self) -> str | None:
        self._keys += 1
        return f"key-{self._keys}" if self._chance.random() < 0.6 else None

    def _soon(self) -> int:
        """Milliseconds: at once with the others, or a little later."""
        return self._chance.choice((0, 0, self._chance.randint(0, 400)))


def _priced(chance: random.Random, products: Sequence[str]) -> dict[str, str]:
    """A price for one of the products at least."""
    priced = {product: chance.choice(PRICES) for product in products if chance.random() < 0.6}
    return priced or {products[0]: chance.choice(PRICES)}


def _batch_of(orders: Sequence[str]) -> str:
    return f'{{"orders":[{",".join(orders)}]}}'
