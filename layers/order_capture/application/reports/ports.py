"""The ports of the use cases of the reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from order_capture.domain.events import OrderEventSummary
from order_capture.domain.reports import Row, RowKey


@dataclass
class AlreadyCountedError(Exception):
    """Nothing was counted: the events of these ids have been before, or another write was under way."""

    counted: frozenset[str] = field(default_factory=frozenset)
    conflict: bool = False


@dataclass(frozen=True, slots=True)
class Generations:
    """Which generation of the reports is read, and which is being built to replace it, if one is."""

    current: int
    building: int | None = None


class ReportRepository(Protocol):
    """Where the reports are stored. Reads see every write that was answered before."""

    def generations(self) -> Generations:
        """Return those that events are counted in."""

    def count(self, generation: int, facts: Sequence[OrderEventSummary], forget: str) -> None:
        """In one atomic step: add these events to their rows, and remember each until the time `forget`.

        Raises:
            AlreadyCountedError: nothing was counted.
        """

    def rows(self, generation: int, day: str, after: RowKey | None, limit: int) -> Sequence[Row]:
        """Return a day's rows, its own first, then by product: at most `limit` of those behind `after`."""
