"""List the history of an account or a product, newest first, page by page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from order_capture.application.ledger.ports import HistoryCursor, HistoryRepository
from order_capture.application.ports import LedgerRepository
from order_capture.domain.errors import NotFoundError
from order_capture.domain.history import ChangeType, Commit, HistoryRecord, LedgerEntry
from order_capture.domain.ledger import Hold
from order_capture.domain.stripes import head_names


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the history: a part of a commit, or a declined hold."""

    record: HistoryRecord
    change: LedgerEntry | None
    cursor: HistoryCursor


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """A page of entries, newest first, and where the next page begins; None if there can be no more."""

    entries: Sequence[Entry]
    next: HistoryCursor | None


@dataclass(frozen=True, slots=True)
class ListBalanceHistory:
    """Read the history of one ledger."""

    ledger: LedgerRepository
    history: HistoryRepository

    def list_page(self, entity: str, after: HistoryCursor | None, limit: int) -> HistoryPage:
        """Return a page of the history. The newest entries may be missing.

        Raises:
            NotFoundError: no balance was ever set for it, and no order ever requested it.
        """
        root = self.ledger.head(entity)
        names = head_names(entity, root.stripes if root else 0)
        # The record at `after` is read again, since some of its entries may remain. Each head may have a
        # record of that name, as for a transfer; together they must not fill a page, or no other could
        # follow. One more is read, to see whether there is another page.
        max_records = limit + 1 + len(names)
        histories = [self.history.newest(name, after, max_records) for name in names]
        records = sorted(chain(*histories), key=lambda each: (each.time, each.key), reverse=True)[
            :max_records
        ]
        entries = [
            entry for each in records for entry in _entries(each) if not _is_shown(entry.cursor, after)
        ]
        # Only an existing one may have an empty history, for a moment.
        if not entries and after is None and root is None:
            raise NotFoundError("No balance was ever set for it.")
        page = entries[:limit]
        if len(entries) > limit:
            return HistoryPage(page, page[-1].cursor)
        # A commit that changed nothing has no entries: a page may be short and still have a next one.
        last = records[-1] if len(records) == max_records else None
        return HistoryPage(page, HistoryCursor(last.time, last.key, _size(last)) if last else None)


def _entries(record: HistoryRecord) -> Iterator[Entry]:
    if isinstance(record, Hold):
        yield Entry(record, None, HistoryCursor(record.time, record.key, 0))
        return
    for index, change in enumerate(record.changes):
        if change.type is not ChangeType.TRANSFER:  # from one head to another: no change in total
            yield Entry(record, change, HistoryCursor(record.time, record.key, index))


def _size(record: HistoryRecord) -> int:
    return len(record.changes) if isinstance(record, Commit) else 1


def _is_shown(cursor: HistoryCursor, after: HistoryCursor | None) -> bool:
    return (
        after is not None
        and (cursor.time, cursor.key) == (after.time, after.key)
        and cursor.index <= after.index
    )
