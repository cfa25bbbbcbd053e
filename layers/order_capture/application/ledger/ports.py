"""What the use cases of the history need of the outside. Apart from `ports`: most functions know none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from order_capture.domain.history import Commit, HistoryRecord


@dataclass(frozen=True, slots=True)
class HistoryCursor:
    """Where an entry is in a history: its line's time and key, and its place among the entries of that
    line."""

    time: str
    key: str
    index: int


class HistoryRepository(Protocol):
    """The history of one ledger. It follows the ledger, and may be a moment behind."""

    def put(self, lines: Sequence[HistoryRecord]) -> None:
        """Write lines; to write one again does no harm.

        Raises:
            TemporaryError: not all could be written.
        """

    def transaction_at(self, entity: str, at: str) -> Commit | None:
        """The commit before which the head stood as it did at that time (see `as_of`), if it is there."""

    def newest(self, entity: str, until: HistoryCursor | None, limit: int) -> Sequence[HistoryRecord]:
        """At most `limit` lines, newest first: from the line at `until` on, or from the last one."""
