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
(MAX_EVENT_AGE of `project_reports`), with a margin for clock differences."""


class CountConflictError(Exception):
    """Nothing was counted: another write of the same rows, or of the same orders' events, came first."""


@dataclass(frozen=True, slots=True)
class Generations:
    """The generation of the reports that is read, and the one being built to replace it, if any."""

    current: int
    building: int | None = None


class ReportRepository(Protocol):
    """Stores the reports. Reads see every earlier acknowledged write."""

    def generations(self) -> Generations:
        """Return the generations in which events are counted."""

    def count(self, generation: int, facts: Sequence[OrderEventSummary], forget: str) -> int:
        """In one atomic step, add the events that were not counted yet to their rows, and mark them as
        counted.

        The marks are kept until the time `forget`. Returns how many of the events were added.

        Raises:
            CountConflictError: nothing was counted.
        """

    def list_placed(
        self, since: str, until: str, after: OrderCursor | None, limit: int
    ) -> Sequence[OrderCursor]:
        """Return the orders that were placed in the seconds from `since` to `until`, both included.

        The newest second first, orders of one second by id; at most `limit` orders, those after `after` if it
        is given. An order that was placed a moment ago may be missing; one whose mark has expired is missing.
        A cursor's `create_time` is its second.
        """

    def rows(self, generation: int, day: str, after: RowKey | None, limit: int) -> Sequence[Row]:
        """Return a day's rows, the day's own first, then by product: at most `limit` rows after `after`."""
