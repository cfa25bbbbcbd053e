"""The ports of the use cases of the history. Apart from `ports`: most functions need none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from order_capture.domain.history import Commit, HistoryRecord


@dataclass(frozen=True, slots=True)
class HistoryCursor:
    """Where an entry is in a history: its record's time and key, and its index in that record."""

    time: str
    key: str
    index: int


class HistoryRepository(Protocol):
    """The history of one ledger. It follows the ledger, and may be a moment behind."""

    def put(self, records: Sequence[HistoryRecord]) -> None:
        """Write records; to write one again does no harm.

        Raises:
            TransientError: not all could be written.
        """

    def transaction_at(self, entity: str, at: str) -> Commit | None:
        """Return the commit before which the head was as it was at that time (see `as_of`), if any."""

    def newest(self, entity: str, until: HistoryCursor | None, limit: int) -> Sequence[HistoryRecord]:
        """Return at most `limit` records, newest first: from the one at `until` on, or from the last."""
