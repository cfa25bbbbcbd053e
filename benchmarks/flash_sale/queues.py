"""SQS in virtual time, and the event source mappings that pass a queue's messages to its function.

A message that its function reports as failed, or whose function fails, is hidden until its visibility timeout
ends, or until the time that ChangeMessageVisibility has set for it. One that was received too often becomes a
dead letter when it would be received again.

A queue whose messages have groups is a fair queue: while a group is noisy, the messages of the others come
first. It is noisy with more than a tenth of the messages in flight, and at least thirty of them
(docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-fair-queues-detailed.html, which calls
both approximate). A group's share of the consumers' time, the other measure, is not modelled.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.flash_sale.constants import Constants
from benchmarks.flash_sale.wiring import QueueSource
from tests.support.aws.errors import client_error
from tests.support.aws.sqs import SQS, Message, queue_arn
from tests.support.virtual_time import Time

NOISY_SHARE, NOISY_MESSAGES = 0.1, 30
MAX_VISIBILITY = 43_200  # seconds (SQS API reference, ChangeMessageVisibility)


class WaitingMessages:
    """The messages that can be received, in order of arrival, by group."""

    def __init__(self) -> None:
        self._by_group: dict[str, deque[tuple[int, Message]]] = {}
        self._first: list[tuple[int, str]] = []
        """A heap of (number of a group's first message, group)."""
        self._arrived = 0
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Message]:
        return (message for line in self._by_group.values() for _, message in line)

    def append(self, message: Message) -> None:
        """Append a message."""
        self._arrived += 1
        self._length += 1
        group = group_of(message)
        if group not in self._by_group:
            self._by_group[group] = deque()
            heapq.heappush(self._first, (self._arrived, group))
        self._by_group[group].append((self._arrived, message))

    def pop(self, in_flight: Counter[str]) -> Message:
        """Take the first message of a quiet group, or else of the least noisy group."""
        noisy: list[tuple[int, str]] = []
        total = in_flight.total()
        while self._first:
            number, group = heapq.heappop(self._first)
            if in_flight[group] < NOISY_MESSAGES or in_flight[group] <= NOISY_SHARE * total:
                break
            noisy.append((number, group))
        else:
            number, group = min(noisy, key=lambda each: in_flight[each[1]])
            noisy.remove((number, group))
        for each in noisy:
            heapq.heappush(self._first, each)
        _, message = self._by_group[group].popleft()
        if self._by_group[group]:
            heapq.heappush(self._first, (self._by_group[group][0][0], group))
        else:
            del self._by_group[group]
        self._length -= 1
        return message


def group_of(message: Message) -> str:
    """A message's group; a message without one forms its own."""
    return message.group or message.message_id


class TimedQueue:
    """A standard queue with latencies."""

    def __init__(
        self, time: Time, visibility: float, max_receives: int, dead_letters: TimedQueue | None
    ) -> None:
        self._time = time
        self._visibility, self._max_receives = visibility, max_receives
        self.dead_letters = dead_letters
        self.ready = WaitingMessages()
        self._in_flight: Counter[str] = Counter()
        self.received: dict[str, Message] = {}
        self.delayed = 0
        """Messages that have not arrived yet, or are hidden."""
        self.returned = 0
        self.on_arrival: Callable[[], None] = lambda: None
        self._receipts = 0

    def put(self, message: Message, delay: float) -> None:
        """Add an arriving message."""
        self.delayed += 1
        self._time.call(partial(self._arrive, message), delay)

    def receive(self, number: int) -> list[Message]:
        """Receive up to this number of messages, and hide them for the visibility timeout."""
        batch: list[Message] = []
        while self.ready and len(batch) < number:
            message = self.ready.pop(self._in_flight)
            if self.dead_letters is not None and message.receives >= self._max_receives:
                self.dead_letters.ready.append(message)
                continue
            message.receives += 1
            self._receipts += 1
            message.receipt = f"receipt-{self._receipts}"
            message.visible_at = self._time.now + self._visibility
            self.received[message.receipt] = message
            self._in_flight[group_of(message)] += 1
            batch.append(message)
        return batch

    def settle(self, batch: Sequence[Message], failed: set[str]) -> None:
        """Delete the processed messages of a batch; the others return after their visibility timeout."""
        for message in batch:
            del self.received[message.receipt]
            self._in_flight[group_of(message)] -= 1
            if not self._in_flight[group_of(message)]:
                del self._in_flight[group_of(message)]
            if message.message_id in failed:
                self.returned += 1
                self.put(message, max(0, message.visible_at - self._time.now))

    def hide(self, receipt: str, seconds: float) -> None:
        """Let a received message return after some seconds."""
        if message := self.received.get(receipt):
            message.visible_at = self._time.now + seconds

    @property
    def depth(self) -> int:
        """All its messages, visible or not."""
        return len(self.ready) + len(self.received) + self.delayed

    def _arrive(self, message: Message) -> None:
        self.delayed -= 1
        self.ready.append(message)
        self.on_arrival()


class TimedSQS(SQS):
    """All queues of an account, with latencies."""

    def __init__(self, time: Time, new_id: Callable[[], str], late: Callable[[], float]) -> None:
        """`late` returns the seconds until a message arrives."""
        super().__init__(lambda: time.now, new_id)
        self._time, self._late = time, late
        self.timed: dict[str, TimedQueue] = {}

    def create_queue(self, *, QueueName: str, Attributes: Mapping[str, str] | None = None) -> dict[str, str]:  # noqa: N803
        """Create a queue; its dead-letter queue must exist."""
        created = super().create_queue(QueueName=QueueName, Attributes=Attributes)
        queue = self.queues[QueueName]
        letters = self.timed[queue.dead_letters] if queue.dead_letters else None
        self.timed[QueueName] = TimedQueue(self._time, queue.visibility, queue.max_receives, letters)
        return created

    def put(
        self,
        queue: str,
        body: str,
        attributes: Mapping[str, Any],
        delay: float = 0.0,
        group: str | None = None,
    ) -> str:
        """Deliver a message after a delay."""
        message = Message(self._new_id(), body, attributes, 0.0, group=group)
        self.timed[queue].put(message, delay + self._late())
        return message.message_id

    def change_message_visibility(self, *, QueueUrl: str, ReceiptHandle: str, VisibilityTimeout: int) -> None:  # noqa: N803
        """Make a received message visible again after some seconds from now."""
        if not 0 <= VisibilityTimeout <= MAX_VISIBILITY:
            raise client_error(
                "ChangeMessageVisibility", "InvalidParameterValue", "VisibilityTimeout is 0 to 43200"
            )
        self.timed[self._queue(QueueUrl).name].hide(ReceiptHandle, VisibilityTimeout)


@dataclass
class QueueMapping:
    """Reads a queue for a function: few concurrent batches at first, more while messages wait."""

    time: Time
    constants: Constants
    source: QueueSource
    queue: TimedQueue
    invoke: Callable[[dict[str, Any]], Any]
    """Calls the function; raises its errors."""
    pause: Callable[[float], None]

    def __post_init__(self) -> None:
        self.limit = self._first = min(int(self.constants.pollers), self.source.concurrency)
        self.busy = 0
        self.most = 0
        """Maximum concurrent batches."""
        self._ramping = False
        self._waited_last = 0.0
        self._window_ends: float | None = None
        self.queue.on_arrival = self.poll

    def poll(self) -> None:
        """Start the function on the waiting messages, up to the concurrency limit."""
        if self.time.now - self._waited_last > self.constants.pollers_idle and not self._ramping:
            self.limit = self._first
        while self.queue.ready and self.busy < self.limit and self._is_due():
            self._window_ends = None
            if batch := self.queue.receive(self.source.batch_size):
                self.busy += 1
                self.most = max(self.most, self.busy)
                self.time.spawn(partial(self._work, batch))
        if self.queue.ready and not self._ramping and self.busy >= self.limit:
            self._ramping = True
            self.time.call(self._ramp, 1)

    def _is_due(self) -> bool:
        """Whether a batch is full, or its window has ended."""
        if not self.source.window or len(self.queue.ready) >= self.source.batch_size:
            return True
        if self._window_ends is None:
            self._window_ends = self.time.now + self.source.window
            self.time.call(self.poll, self.source.window)
        return self.time.now >= self._window_ends

    def _ramp(self) -> None:
        self._waited_last = self.time.now
        self._ramping = False
        if self.queue.ready and self.busy >= self.limit:
            more = self.limit + int(self.constants.pollers_per_second)
            self.limit = min(more, self.source.concurrency)
            self.poll()

    def _work(self, batch: Sequence[Message]) -> None:
        self.pause(self.constants.receive_ms)
        arn = queue_arn(self.source.queue)
        event = {"Records": [_record(message, arn) for message in batch]}
        try:
            report = self.invoke(event)
            failed = {failure["itemIdentifier"] for failure in report["batchItemFailures"]}
        except Exception:  # after any error of the function, including a timeout, the whole batch is retried
            failed = {message.message_id for message in batch}
        self.queue.settle(batch, failed)
        self.busy -= 1
        self.poll()


def _record(message: Message, arn: str) -> dict[str, Any]:
    return {
        "messageId": message.message_id,
        "receiptHandle": message.receipt,
        "body": message.body,
        "attributes": {"ApproximateReceiveCount": str(message.receives)},
        "messageAttributes": message.attributes,
        "eventSource": "aws:sqs",
        "eventSourceARN": arn,
        "awsRegion": "us-east-1",
    }
