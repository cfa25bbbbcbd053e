"""Project order events into the daily reports: each event is counted once, however often it is received."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from order_capture.application.batches import collecting_failures, process_groups
from order_capture.application.messages import ReceivedOrderEvent
from order_capture.application.ports import Clock
from order_capture.application.reports.ports import (
    MARK_RETENTION,
    CountConflictError,
    Generations,
    ReportRepository,
)
from order_capture.application.retry import Retry
from order_capture.domain.errors import InvalidMessageError, TransientError
from order_capture.domain.events import OrderEventSummary
from order_capture.domain.reports import RowKey, aggregate_events, placed_second

MAX_EVENT_AGE = timedelta(days=45)
"""Age of the oldest event that is still counted. A message lives for 14 days, after a day in the stream, and
for 14 more days each time it is redriven. An older event has been dead-lettered again and again, and is
better counted by a rebuild."""


@dataclass(frozen=True, slots=True)
class ProjectReports:
    """Count events in the reports; one write takes `max_items` items.

    The largest event takes 52 items: its mark, the day, and 50 products. Ten orders of one product placed in
    the same second take three items for all of their events.
    """

    reports: ReportRepository
    max_items: int
    clock: Clock
    retry: Retry

    def process(self, messages: Sequence[ReceivedOrderEvent]) -> set[str]:
        """Count every event of a batch, in the reports that are read and in those that are being built.

        The generations are read after the events were received. So an event that is counted only in the old
        generation was written to its order before the new one was begun, and the rebuild finds it there.

        Returns:
            The ids of the orders that must be retried: their messages go back to the queue.
        """
        failed: set[str] = set()
        events: dict[str, OrderEventSummary] = {}
        for message in messages:
            event = message.summary
            with collecting_failures(failed, [event.details.order_id]):
                self._refuse_old(event)
                events[event.event_id] = event
        with collecting_failures(failed, [event.details.order_id for event in events.values()]):
            generations = self.reports.generations()
            process_groups(
                failed,
                self.groups(events.values()),
                lambda event: event.details.order_id,
                lambda group: self._count_in_all(generations, group),
                self.retry.has_time_left,
            )
        return failed

    def groups(self, events: Iterable[OrderEventSummary]) -> Iterator[list[OrderEventSummary]]:
        """Events that are counted together, in their order: as many as fit in one write.

        Group commit: a row to which several of them add is written once, as are the marks of orders placed in
        the same second.
        """
        group: list[OrderEventSummary] = []
        written: set[RowKey | str] = set()
        for event in events:
            items: set[RowKey | str] = {*aggregate_events([event]), placed_second(event)}
            if group and len(written | items) > self.max_items:
                yield group
                group, written = [], set()
            group.append(event)
            written |= items
        if group:
            yield group

    def count(self, generation: int, events: Sequence[OrderEventSummary]) -> int:
        """Count the events that were not counted yet; returns their number.

        Raises:
            TransientError: too many other writes of the same rows; none of the remaining events is counted.
        """
        for attempt in self.retry:
            forget = datetime.fromisoformat(self.clock()) + MARK_RETENTION
            try:
                return self.reports.count(generation, events, forget.isoformat())
            except CountConflictError:
                attempt.back_off()
        raise TransientError("too many other writes of the reports")

    def _count_in_all(self, generations: Generations, events: Sequence[OrderEventSummary]) -> None:
        self.count(generations.current, events)
        if generations.building is not None:
            self.count(generations.building, events)

    def _refuse_old(self, event: OrderEventSummary) -> None:
        age = datetime.fromisoformat(self.clock()) - datetime.fromisoformat(event.change.time)
        if age > MAX_EVENT_AGE:
            raise InvalidMessageError(f"event {event.event_id} is too old to know if it was counted")
