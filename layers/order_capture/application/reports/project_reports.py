"""Project what happens to orders into the daily reports: each event counts once, however often it comes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from order_capture.application.batches import collecting_failures, process_groups
from order_capture.application.messages import ReceivedOrderSummary
from order_capture.application.ports import MAX_ATTEMPTS, Backoff, Clock, HasTimeLeft
from order_capture.domain.errors import InvalidMessageError, TransientError
from order_capture.domain.events import OrderEventSummary
from order_capture.domain.reports import Row, RowKey, aggregate_events

MAX_TRANSACTION_ITEMS = 100
"""Items in one DynamoDB transaction. The largest event takes 52: its mark, the day, and 50 products."""

MAX_EVENT_AGE = timedelta(days=45)
"""Age of the oldest event that is still counted. A message lives for 14 days, a day more in the stream before
it, and 14 more each time it is redriven: what is older has been among the dead letters again and again, and
is better counted by a rebuild."""

MARK_RETENTION = timedelta(days=60)
"""How long it is known that an event was counted: longer than any copy of it may come (OLDEST), by so much
that clocks which differ don't matter."""


@dataclass
class AlreadyCountedError(Exception):
    """Nothing was counted: the events of these ids have been before, or another write was under way."""

    counted: frozenset[str] = field(default_factory=frozenset)
    conflict: bool = False


@dataclass(frozen=True, slots=True)
class Generations:
    """Which generation of the reports is read, and which is being built to take its place, if one is."""

    current: int
    building: int | None = None


class ReportRepository(Protocol):
    """Where the reports are kept. Reads see every write that was answered before."""

    def generations(self) -> Generations:
        """Those that events are counted in."""

    def count(self, generation: int, facts: Sequence[OrderEventSummary], forget: str) -> None:
        """In one atomic step: add these events to their rows, and remember each until the time `forget`.

        Raises:
            CountRefusedError: nothing was counted.
        """

    def rows(self, generation: int, day: str, after: RowKey | None, limit: int) -> Sequence[Row]:
        """The rows of a day, its own first, then by product: at most `limit` of those behind `after`."""


def project_reports(
    reports: ReportRepository,
    messages: Sequence[ReceivedOrderSummary],
    clock: Clock,
    backoff: Backoff,
    has_time_left: HasTimeLeft = lambda: True,
) -> set[str]:
    """Count every event of a batch, in the reports that are read and in those that are being built.

    Which ones there are is asked when the events are there already. So an event that is counted in the old
    ones only was written to its order before the new ones were begun, and whoever builds them finds it there.

    Returns:
        The ids of the orders whose messages must be tried again.
    """
    failed: set[str] = set()
    facts: dict[str, OrderEventSummary] = {}
    for message in messages:
        fact = message.fact
        with collecting_failures(failed, [fact.details.order_id]):
            if datetime.fromisoformat(clock()) - datetime.fromisoformat(fact.moment.time) > MAX_EVENT_AGE:
                raise InvalidMessageError(f"event {fact.event_id} is too old to know if it was counted")
            facts[fact.event_id] = fact
    with collecting_failures(failed, [fact.details.order_id for fact in facts.values()]):
        generations = reports.generations()

        def count_in_all(group: Sequence[OrderEventSummary]) -> None:
            count_events(reports, generations.current, group, clock, backoff)
            if generations.building is not None:
                count_events(reports, generations.building, group, clock, backoff)

        process_groups(
            failed,
            group_events(facts.values()),
            lambda fact: fact.details.order_id,
            count_in_all,
            has_time_left,
        )
    return failed


def group_events(facts: Iterable[OrderEventSummary]) -> Iterator[list[OrderEventSummary]]:
    """Events that are counted together, in their order: as many as one write takes.

    Group commit: a row that ten of them add to is written once.
    """
    group: list[OrderEventSummary] = []
    written: set[RowKey] = set()
    for fact in facts:
        rows = aggregate_events([fact]).keys()
        if group and len(group) + 1 + len(written | rows) > MAX_TRANSACTION_ITEMS:
            yield group
            group, written = [], set()
        group.append(fact)
        written |= rows
    if group:
        yield group


def count_events(
    reports: ReportRepository,
    generation: int,
    facts: Sequence[OrderEventSummary],
    clock: Clock,
    backoff: Backoff,
) -> int:
    """Count those of the events that have not been yet; returns how many those were.

    Raises:
        TemporaryError: too many others write the same rows; none of what was left is counted.
    """
    left: Mapping[str, OrderEventSummary] = {fact.event_id: fact for fact in facts}
    for tries in range(1, MAX_ATTEMPTS + 1):
        if not left:
            return 0
        forget = datetime.fromisoformat(clock()) + MARK_RETENTION
        try:
            reports.count(generation, list(left.values()), forget.isoformat())
            return len(left)
        except AlreadyCountedError as refusal:
            left = {event_id: fact for event_id, fact in left.items() if event_id not in refusal.counted}
            if refusal.conflict:
                backoff(tries)
    raise TransientError("reports too busy")
