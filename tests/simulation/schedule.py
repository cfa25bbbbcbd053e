"""One schedule from a single seed: a few clients, all functions, and random faults, until all is idle.

First everything runs with faults; then they stop, the dead letters are redriven until only poison is left,
and the invariants must hold.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache, partial
from typing import Any

from order_capture.adapters.dynamodb.history_repository import record_from_images
from order_capture.adapters.dynamodb.ledger_repository import DynamoLedgerRepository, balance_update
from order_capture.adapters.serializers import decimal_json
from order_capture.application.ledger.adjust_balance import AdjustBalance, BalanceRequest
from order_capture.application.ledger.hot_heads import HotHeads
from order_capture.application.retry import Retry
from order_capture.domain.ledger import ACCOUNTS, STOCK, ZERO, Balance, BalanceChange, LedgerSpec
from order_capture.domain.stripes import split, stripe
from tests.simulation import cloud, functions, next_release, trace
from tests.simulation.books import CHECKS, Books
from tests.simulation.calls import Client, target_of
from tests.simulation.faults import Cells, Faults, Mishap, NoFaults
from tests.simulation.scheduler import Crashed, Scheduler, Task, timestamp
from tests.simulation.shoppers import Answer, Opening, Promises, Script
from tests.support.aws.dynamodb import Change
from tests.support.aws.sns import Subscription
from tests.support.aws.sqs import Message, Queue, queue_url
from tests.support.factories import SERVICE_CLAIMS

# Far more than any schedule takes: one that is still active then would never end.
MAX_STEPS = 10_000
ROUNDS_TO_REST = 6
# From the moment that faults stop: a deadline of 15 minutes by clocks that are 20 minutes apart, looks that
# are up to 15 minutes apart, and a dead letter's receives before it is redriven.
MAX_MILLISECONDS_TO_REST = 2 * 60 * 60 * 1000
SKEW = 10 * 60 * 1000
GATEWAY_TIMEOUT = 29_000
STREAM_RETRY = 1_000
NEVER = 10**15
RELAY = "change_publisher"
LEDGER_OF = {"balance_checker": "AccountTable", "stock_checker": "StockTable"}

POISON = (
    "this is no JSON",
    "{}",
    '{"specversion":"1.0","type":"order.check","dataschema":"urn:order-capture:order.check:9",'
    '"correlationid":"c","data":{}}',
    '{"specversion":"1.0","type":"order.ship","dataschema":"urn:order-capture:order.ship:1",'
    '"correlationid":"c","data":{"orderId":"o","customerId":"c","totalAmount":1e100000000,"items":[]}}',
    '{"specversion":"1.0","type":"order.unheard-of","dataschema":"urn:order-capture:order.unheard-of:1",'
    '"correlationid":"c","data":{}}',
)


@dataclass
class Style:
    """The random parameters of a schedule, apart from its faults."""

    switching: float  # probability that a task yields at a call
    eager: float  # probability that running tasks continue before new messages are delivered
    whole_batches: float  # probability that a function gets all waiting messages
    replays: float  # probability that old messages are delivered again when all is idle
    newer: float = 0.0  # probability that a function's process runs the next release
    unreadable: int = 0  # number of unreadable items in the order table
    skews: Mapping[str, int] = field(default_factory=dict)
    watch_delay: int = cloud.WATCH_DELAY
    deadline: int = cloud.DEADLINE
    stripes: int = 0  # stripes of a contended head
    divided: float = 0.0  # probability that a customer or product has them from the start

    @staticmethod
    def drawn(chance: random.Random) -> Style:
        """A random style."""
        skewed = chance.random() < 0.3
        skew = {name: chance.choice((-SKEW, 0, SKEW)) for name in functions.FUNCTIONS} if skewed else {}
        hasty = chance.random() < 0.2  # the watchdog runs during the checks
        return Style(
            switching=chance.choice((0.0, 0.3, 0.6, 1.0)),
            eager=chance.choice((0.3, 0.7, 0.95)),
            whole_batches=chance.choice((0.2, 0.8)),
            replays=chance.choice((0.0, 0.0, 0.3)),
            newer=chance.choice((0.0, 0.0, 0.5)),
            skews=skew,
            watch_delay=0 if hasty else cloud.WATCH_DELAY,
            deadline=0 if hasty and chance.random() < 0.6 else cloud.DEADLINE,
            stripes=chance.choice((0, 2, 3)),
            divided=chance.choice((0.0, 0.5, 1.0)),
        )


@dataclass
class Outcome:
    """The result of a schedule."""

    broken: list[str]
    steps: int
    cells: Cells
    statuses: Counter[str]
    trace: list[str]
    unreadable: set[str]
    """The records that were dead-lettered by the order table's stream."""


class Schedule:
    """Everything that runs in one schedule; also the functions' environment."""

    def __init__(self, chance: random.Random, style: Style, faults: Faults, *, tracing: bool = False) -> None:
        self._chance = chance
        self._style = style
        self._faults = faults
        self._ids = 0
        self._scheduler = Scheduler(chance, style.switching)
        self._cloud = cloud.new_cloud(lambda: self._scheduler.now / 1000, self.new_id)
        self._settings = cloud.settings(style.watch_delay, style.deadline, style.stripes)
        self._trace: list[str] | None = [] if tracing else None
        self.cells: Cells = Counter()
        self.books = Books()
        self.promises = Promises(self.books)
        self._clients = {
            service: Client(
                fake, self._scheduler, chance, self.new_id, self.cells, self._log_call if tracing else None
            )
            for service, fake in (
                ("dynamodb", self._cloud.dynamodb),
                ("sns", self._cloud.sns),
                ("sqs", self._cloud.sqs),
            )
        }
        self._inboxes = {name: self._cloud.sqs.queues[queue] for name, queue in cloud.FED.items()}
        self._hot_heads: dict[str, HotHeads] = {name: HotHeads() for name in LEDGER_OF}
        self._steps = 0
        self._stream = self._cloud.dynamodb.stream("OrderTable")
        self._streamed_up_to = 0
        self._streamed: list[dict[str, Any]] = []  # to be handed to the stream's function
        self._stream_free_at = 0
        self._delivered: list[tuple[str, Message]] = []
        self._poison = 2
        self._unreadable = style.unreadable
        self._cloud.dynamodb.on_commit = self._committed
        self._cloud.sqs.transit = self._transit
        self._cloud.sns.can_access = self._reaches
        self._set_faults(faults)

    # The functions' environment

    def client(self, service: str) -> Client:
        return self._clients[service]

    def env(self, name: str) -> str:
        if name == "QUEUE_URL":  # of the current function
            return queue_url(cloud.FED[self._scheduler.current.place])
        return self._settings[name]

    def clock(self) -> str:
        return timestamp(self._scheduler.now + self._scheduler.current.skew)

    def backoff(self, attempt: int) -> None:
        self._scheduler.sleep(int(self._chance.random() * min(160, 20 * 2 ** (attempt - 1))))

    def new_id(self) -> str:
        self._ids += 1
        return f"id-{self._ids}"

    def random_fraction(self) -> float:
        return self._chance.random()

    def hot_heads(self) -> HotHeads:
        return self._hot_heads[self._scheduler.current.place]

    # The clients' API

    def ask(
        self, method: str, resource: str, path: Mapping[str, str], body: str | None, key: str | None
    ) -> Answer:
        """Call an API function, as API Gateway does: 502 if it dies, 504 if it hangs."""
        reads = resource in ("/order/{orderId}", "/order/{orderId}/status")
        name = "order_reader" if reads else f"{resource.split('/')[1].rstrip('s')}_api"
        event = {
            "httpMethod": method,
            "resource": resource,
            "pathParameters": path,
            "headers": {"Idempotency-Key": key} if key else None,
            "body": body,
            "requestContext": {"requestId": self.new_id(), "authorizer": {"claims": SERVICE_CLAIMS}},
        }
        client, answers = self._scheduler.current, list[Answer]()

        def work() -> None:
            answered = Answer(502)
            try:
                answer = functions.handler(name)(event, None)
                read = decimal_json.loads(answer["body"]) if answer["body"] else None
                answered = Answer(answer["statusCode"], read)
            finally:
                answers.append(answered)
                client.wakes = self._scheduler.now

        self._spawn(name, work)
        until = self._scheduler.now + GATEWAY_TIMEOUT
        while not answers and self._scheduler.now < until:
            self._scheduler.sleep(until - self._scheduler.now)
        answer = answers[0] if answers else Answer(504)
        if self._trace is not None:
            self._log(f"{method} {resource} {path or ''} key={key} {body or ''} → {answer.status}")
        return answer

    def sleep(self, milliseconds: int) -> None:
        """Do nothing for a while."""
        self._scheduler.sleep(milliseconds)

    # The schedule

    def open(self, opening: Opening) -> None:
        """Set the initial balances, without faults."""
        for kind, table, key, amounts, prices in (
            (ACCOUNTS, "AccountTable", "customerId", opening.credit, {}),
            (STOCK, "StockTable", "productId", opening.units, opening.prices),
        ):
            for entity, amount in amounts.items():
                price = Decimal(prices[entity]) if entity in prices else None
                change = BalanceRequest(
                    entity, self.new_id(), "", idempotent=False, balance=Decimal(amount), price=price
                )
                self._cloud.dynamodb.transact_write_items(
                    TransactItems=_first_balance(kind, table, key, change)
                )
                if self._style.stripes and self._chance.random() < self._style.divided:
                    self._divide(kind, table, key, entity, Balance(change.balance or ZERO, price=price))

    def _divide(self, kind: LedgerSpec, table: str, key: str, entity: str, root: Balance) -> None:
        """Give a customer or product its stripes; each checker may use one of them from the beginning.

        Often one head has everything, as after a sale: then the others are short.
        """
        changes = split(kind, entity, root, self._style.stripes)
        self._cloud.dynamodb.transact_write_items(
            TransactItems=[balance_update(table, key, change, timestamp(0)) for change in changes]
        )
        balances = {change.head: change.balance for change in changes}
        balances[entity] += root.balance
        if self._chance.random() < 0.5 and len({*balances.values()} - {ZERO}) > 0:
            richest = self._chance.choice(list(balances))
            moved = [
                BalanceChange.transferred(head, -balance, "OPENING")
                for head, balance in balances.items()
                if head != richest
            ]
            gained = root.balance - balances[richest]
            moved.append(BalanceChange.transferred(richest, gained, "OPENING"))
            self._cloud.dynamodb.transact_write_items(
                TransactItems=[balance_update(table, key, change, timestamp(0)) for change in moved]
            )
        for name, ledger in LEDGER_OF.items():
            if ledger == table and self._chance.random() < 0.7:
                number = self._chance.randint(1, self._style.stripes)
                self._hot_heads[name].remember(
                    entity, stripe(entity, number), self._style.stripes, timestamp(0)
                )

    def run(self, scripts: Sequence[Script]) -> Outcome:
        """Run until idle, or to the first broken invariant."""
        functions.put_into(self)
        for number, script in enumerate(scripts):
            self._spawn(f"client{number}", partial(script, self))
        try:
            if self._run_until_quiet():
                self._run_to_rest()
            statuses = Counter(order["status"]["S"] for order in self.books.orders.values())
            letters = self._cloud.sqs.queues[cloud.STREAM_DEAD_LETTERS].messages
            unreadable = {json.loads(letter.body)["eventID"] for letter in letters}
            return Outcome(
                self.books.broken, self._steps, self.cells, statuses, self._trace or [], unreadable
            )
        finally:
            self._scheduler.kill_all()
            self._let_go()

    def _let_go(self) -> None:
        """Cut the circles of what belongs to this schedule, which frees its memory for the next one.
        Left to the garbage collector, a schedule takes a fifth more time."""
        fakes = self._cloud.dynamodb, self._cloud.sqs, self._cloud.sns
        for each in (*self._clients.values(), *fakes, self.promises, self):
            vars(each).clear()

    def _run_to_rest(self) -> None:
        while self._chance.random() < self._style.replays:
            self._replay()
            if self._chance.random() < 0.5:
                self._redrive(at_rest=False)
            if not self._run_until_quiet():
                return
        self._log("──── no more faults")
        self._set_faults(NoFaults())
        since = self._scheduler.now
        for _ in range(ROUNDS_TO_REST):
            if not self._run_until_quiet():
                return
            undone = self._dead_letters()
            if not self._redrive(at_rest=True):
                break
        else:
            self.books.broken.append(f"I5: never done: {undone}")
        if self._scheduler.now - since > MAX_MILLISECONDS_TO_REST:
            self.books.broken.append(
                f"I5: at rest only {(self._scheduler.now - since) / 1000} s after the faults"
            )
        self.books.at_rest()
        published = self._cloud.sqs.queues[cloud.LISTENER].messages
        self.books.published(json.loads(message.body) for message in published)
        for ledger in CHECKS.values():
            records, (key, _) = self._cloud.dynamodb.stream(ledger), cloud.TABLES[ledger]
            found = (record_from_images(key, record["dynamodb"]) for record in records)
            self.books.remembered(ledger, (line for line in found if line))
        self.promises.at_rest()
        self._check_patience()

    def _check_patience(self) -> None:
        """No order expires because of a single fault: there is ample time to repair it."""
        has_time_left = self._style.deadline and not self._style.skews and self.cells.total() <= 1
        expired = [each for each in self.books.orders if self.books.status(each) == "EXPIRED"]
        if has_time_left and expired:
            self.books.broken.append(f"I5: {expired} expired, and only {dict(self.cells)} went wrong")

    def _run_until_quiet(self) -> bool:
        """Run until nothing is left to do. False if an invariant is broken."""
        scheduler, chance, eager = self._scheduler, self._chance, self._style.eager
        broken = self.books.broken
        while not broken:
            self._steps += 1
            if self._steps > MAX_STEPS:
                broken.append(f"I5: not at rest after {MAX_STEPS} steps")
                break
            ready = scheduler.ready()
            if ready and chance.random() < eager:
                scheduler.resume(ready[int(chance.random() * len(ready))])
                continue
            waiting = self._waiting()
            if waiting:
                self._start(waiting[int(chance.random() * len(waiting))])
            elif ready:
                scheduler.resume(ready[int(chance.random() * len(ready))])
            elif not self._let_time_pass():
                return True
        return False

    def _let_time_pass(self) -> bool:
        """Advance to the next time at which something can happen; False if there is none."""
        moments = [task.wakes for task in self._scheduler.tasks]
        for queue in self._inboxes.values():
            moments += [int(message.visible_at * 1000) + 1 for message in queue.messages]
        if self._streamed:
            moments.append(self._stream_free_at)
        if not moments:
            return False
        self._scheduler.now = max(min(moments), self._scheduler.now + 1)
        return True

    # What Lambda does

    def _waiting(self) -> list[str]:
        """The functions that have something to do."""
        names, now = [], self._scheduler.now / 1000
        for name, queue in self._inboxes.items():
            for message in queue.messages:
                if message.visible_at <= now:
                    names.append(name)
                    break
        if self._streamed and self._stream_free_at <= self._scheduler.now:
            names.append(RELAY)
        return names

    def _start(self, name: str) -> None:
        if name == RELAY:
            self._relay()
        else:
            self._deliver(name, cloud.FED[name])

    def _deliver(self, name: str, queue: str) -> None:
        """Start a function with some of the messages that wait for it, in any order."""
        sqs, chance = self._cloud.sqs, self._chance
        visible = sqs.visible(queue)
        if not visible:  # they were received too often
            return
        number = self._some(min(len(visible), cloud.BATCH_SIZES[name]))
        batch = chance.sample(visible, number) if len(visible) > 1 else visible
        for message in batch:
            sqs.receive(queue, message)
            if message.receives == 1:
                self._delivered.append((queue, message))
        receipts = [(message.message_id, message.receipt) for message in batch]
        event = {"Records": [_record(message) for message in batch]}

        def work() -> None:
            report = functions.handler(name)(event, None)
            failed = {failure["itemIdentifier"] for failure in report["batchItemFailures"]}
            for message_id, receipt in receipts:
                if message_id not in failed:
                    sqs.delete_message(QueueUrl=queue, ReceiptHandle=receipt)
            if self._trace is not None:
                self._log(f"done, {len(failed)} of {len(event['Records'])} returned")

        task = self._spawn(name, work)
        if self._trace is not None:
            self._log(f"gets {[trace.gist(message.body) for message in batch]}", task.name)

    def _some(self, most: int) -> int:
        """How many of the waiting messages a function gets."""
        chance = self._chance
        return most if chance.random() < self._style.whole_batches else chance.randint(1, most)

    def _relay(self) -> None:
        """Start the stream's function with the next records; they are retried until it returns."""
        records = self._streamed[: self._some(len(self._streamed))]
        self._stream_free_at = NEVER

        def work() -> None:
            free_at = self._scheduler.now + STREAM_RETRY
            try:
                functions.handler(RELAY)({"Records": records}, None)
                del self._streamed[: len(records)]
            except Exception as error:  # Lambda handles any error of the function
                self._log(f"raised {error!r}")
            else:
                free_at = self._scheduler.now
            finally:
                self._stream_free_at = free_at

        self._spawn(RELAY, work)

    def _spawn(self, name: str, work: Callable[[], None]) -> Task:
        def run() -> None:
            try:
                work()
            except Crashed:
                self._log("☠ crashed")

        # The clients of a schedule are spawned here as well: what they run is not of any release.
        newer = self._style.newer > 0 and self._chance.random() < self._style.newer
        return self._scheduler.spawn(name, self._style.skews.get(name, 0), newer, run)

    # Faults in transit, and the operators' repairs

    def _set_faults(self, faults: Faults) -> None:
        self._faults = faults
        for client in self._clients.values():
            client.faults = faults

    def _reaches(self, subscription: Subscription) -> bool:
        # What a listener without dead letters does not get is its own affair; here it is what was published.
        if subscription.dead_letters is None or self._faults.of_message((Mishap.DEAD_LETTER,)) is None:
            return True
        self._met(Mishap.DEAD_LETTER, subscription.queue)
        return False

    def _transit(self, queue: Queue, message: Message) -> Sequence[float]:
        if queue.dead_letters is None or message.body in POISON:
            return (0.0,)
        mishap = self._faults.of_message(_ON_THE_WAY)
        if mishap is None:
            return (0.0,)
        later = self._chance.choice((0.05, 2.0, 45.0, 1000.0))
        match mishap:
            case Mishap.LOST:
                if queue.name == cloud.FED["order_watchdog"] or _is_last_release(message):
                    return (0.0,)
            case Mishap.EXTRA_FIELDS:
                message.body = next_release.with_more_fields(message.body)
            case Mishap.NEXT_VERSION:
                message.body = message.body.replace(_VERSION_1, _VERSION_2, 1)
            case Mishap.POISON:
                if not self._poison:
                    return (0.0,)
                self._poison -= 1
                body = self._chance.choice(POISON)
                queue.messages.append(Message(self.new_id(), body, {}, message.visible_at))
        self._met(mishap, queue.name)
        return {
            Mishap.LOST: (),
            Mishap.LATE: (later,),
            Mishap.DUPLICATE: (0.0, 0.0),
            Mishap.DUPLICATE_LATER: (0.0, later),
        }.get(mishap, (0.0,))

    def _replay(self) -> None:
        """Deliver some old messages again, under new ids."""
        if not self._delivered:
            return
        for queue, message in self._chance.sample(self._delivered, min(3, len(self._delivered))):
            if self._faults.of_message((Mishap.REPLAYED,)) is None:
                continue
            self._met(Mishap.REPLAYED, queue)
            self._cloud.sqs.put(queue, message.body, message.attributes)

    def _redrive(self, *, at_rest: bool) -> bool:
        """Send the dead letters where they were to go, under new ids. At rest, poison is thrown away and what
        only a newer release can read is read by it. False if there was nothing."""
        sqs, found = self._cloud.sqs, False
        for queue in cloud.FED.values():
            letters = sqs.queues[cloud.dead_letters_of(queue)].messages
            while letters:
                letter = letters.pop()
                body = letter.body.replace(_VERSION_2, _VERSION_1, 1) if at_rest else letter.body
                if not (at_rest and body in POISON):
                    found = True
                    sqs.put(queue, body, letter.attributes)
        letters = sqs.queues[cloud.TOPIC_DEAD_LETTERS].messages
        while letters:
            letter, found = letters.pop(), True
            entry = {"Id": "0", "Message": letter.body, "MessageAttributes": letter.attributes}
            self._cloud.sns.publish_batch(
                TopicArn=self._settings["ORDER_TOPIC_ARN"], PublishBatchRequestEntries=[entry]
            )
        if found:
            self._log("──── dead letters redriven")
        return found

    def _dead_letters(self) -> list[str]:
        queues = [cloud.dead_letters_of(queue) for queue in cloud.FED.values()]
        return [
            trace.gist(letter.body) for queue in queues for letter in self._cloud.sqs.queues[queue].messages
        ]

    # Records

    def _committed(self, changes: Sequence[Change]) -> None:
        self.books.commit(changes)
        written = list(filter(cloud.is_streamed, self._stream[self._streamed_up_to :]))
        self._streamed_up_to = len(self._stream)
        if written and self._unreadable:
            self._streamed.append(_unreadable(written[0], self._unreadable))
            self._unreadable -= 1
        self._streamed += written

    def _met(self, mishap: Mishap, queue: str) -> None:
        self.cells[mishap, queue] += 1
        if self._trace is not None:
            self._log(f"[{mishap}] on its way to {queue}", "")

    def _log_call(self, operation: str, params: Mapping[str, Any], end: str) -> None:
        self._log(f"{operation} {target_of(params)} {trace.what(params)} {end}")

    def _log(self, text: str, who: str | None = None) -> None:
        if self._trace is None:
            return
        if who is None:
            who = self._scheduler.current.name
        self._trace.append(f"{self._scheduler.now / 1000:10.3f}  {who:<20} {text}")


def _record(message: Message) -> dict[str, Any]:
    return {
        "messageId": message.message_id,
        "receiptHandle": message.receipt,
        "body": message.body,
        "attributes": {"ApproximateReceiveCount": str(message.receives)},
    }


class _NewLedger:
    """The client of a ledger without items. It notes what is to be written."""

    def __init__(self) -> None:
        self.written: Sequence[Any] = ()

    def get_item(self, **_: Any) -> dict[str, Any]:
        return {}

    def transact_write_items(self, *, TransactItems: Sequence[Any]) -> None:  # noqa: N803
        self.written = TransactItems


@lru_cache(maxsize=4096)
def _first_balance(kind: LedgerSpec, table: str, key: str, change: BalanceRequest) -> Sequence[Any]:
    """What sets a balance that was not there before. Thousands of schedules open with the same few."""
    client = _NewLedger()
    retry = Retry(lambda attempt: None)
    ledger = DynamoLedgerRepository(client, table, key, retry)
    AdjustBalance(kind, ledger, lambda: timestamp(0), retry).adjust(change)
    return client.written


def _is_last_release(message: Message) -> bool:
    """Whether it is the watchdog's last release, after which it no longer checks (docs/decisions/0009)."""
    return '"source":"/order-capture/order_watchdog","type":"order.release"' in message.body


_VERSION_1, _VERSION_2 = ':1","correlationid"', ':2","correlationid"'
_ON_THE_WAY = (
    Mishap.DUPLICATE,
    Mishap.DUPLICATE_LATER,
    Mishap.LATE,
    Mishap.LOST,
    Mishap.EXTRA_FIELDS,
    Mishap.NEXT_VERSION,
    Mishap.POISON,
)


def _unreadable(record: Mapping[str, Any], number: int) -> dict[str, Any]:
    """The record of an item like this one, written by hand: its log is not a list of texts."""
    keys = {"orderId": {"S": f"by-hand-{number}"}}
    image = {**record["dynamodb"]["NewImage"], **keys, "timeline": {"L": [{"N": "1"}]}}
    change = {"Keys": keys, "NewImage": image, "SequenceNumber": str(number)}
    return {"eventID": f"by-hand-{number}", "eventSourceARN": "the order table's stream", "dynamodb": change}
