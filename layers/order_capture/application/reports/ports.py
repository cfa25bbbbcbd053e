"""The ports of the use cases of the reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from order_capture.application.ports import OrderCursor
from order_capture.domain.events import OrderEventSummary
from order_capture.domain.reports import Row, RowKey

MARK_RETENTION = timedelta(days=60)
"""How long counted events and placed orders are remembered: longer than a copy of an event may take
(MAX_EVENT_AGE of `project_reports`), with a margin for clocks that differ."""


class CountConflictError(Exception):
    """Nothing was counted: another write of the same rows, or of events of the same orders, was quicker."""


@dataclass(frozen=True, slots=True)
class Generations:
    """Which generation of the reports is read, and which is being built to replace it, if one is."""

    current: int
    building: int | None = None


class ReportRepository(Protocol):
    """Where the reports are stored. Reads see every write that was answered before."""

    def generations(self) -> Generations:
        """Return those that events are counted in."""

    def count(self, generation: int, facts: Sequence[OrderEventSummary], forget: str) -> int:
        """In one atomic step: add those that were not counted before to their rows, and mark each as counted.

        The marks are kept until the time `forget`. Returns how many of the events were added.

        Raises:
            CountConflictError: nothing was counted.
        """

    def list_placed(
        self, since: str, until: str, after: OrderCursor | None, limit: int
    ) -> Sequence[OrderCursor]:
        """Return the orders that were placed in the seconds from `since` to `until`, both included.

        The newest second first, those of one second by id; at most `limit` of them, those behind `after` if
        that is given. An order that was placed a moment ago may be missing, and one is whose mark is
        forgotten. A place's `create_time` is its second.
        """

    def rows(self, generation: int, day: str, after: RowKey | None, limit: int) -> Sequence[Row]:
        """Return a day's rows, its own first, then by product: at most `limit` of those behind `after`."""
