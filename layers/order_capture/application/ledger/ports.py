"""The ports of the history's use cases. Separate from `ports`, since most functions do not need them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from order_capture.domain.history import Commit, HistoryRecord


@dataclass(frozen=True, slots=True)
class HistoryCursor:
    """The position of an entry in a history: its record's time and key, and its index in that record."""

    time: str
    key: str
    index: int


class HistoryRepository(Protocol):
    """The history of one ledger. It follows the ledger, and may be a moment behind."""

    def put(self, records: Sequence[HistoryRecord]) -> None:
        """Write records; writing one again is harmless.

        Raises:
            TransientError: not all could be written.
        """

    def transaction_at(self, entity: str, at: str) -> Commit | None:
        """Return the commit that covers the time (see `as_of`), if any: the head was as before it."""

    def newest(self, entity: str, until: HistoryCursor | None, limit: int) -> Sequence[HistoryRecord]:
        """Return at most `limit` records, newest first, from the one at `until` or from the newest."""
