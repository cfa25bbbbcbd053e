"""Look back: what was done to an account or a product, and how it stood at some time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from order_capture.application.ledger.ports import HistoryCursor, HistoryRepository
from order_capture.application.ports import LedgerRepository
from order_capture.domain.errors import NotFoundError, TransientError
from order_capture.domain.history import Commit, HistoryRecord, LedgerEntry
from order_capture.domain.ledger import Balance, Hold, active_or_none

# Seconds between looks for what the history does not have yet. It follows the ledger's stream, mostly well
# within a second; after two and a half the client is told to ask again.
RETRY_DELAYS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.5)

Sleep = Callable[[float], None]
"""Does nothing for so many seconds."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that was done: a part of a commit, or a hold that was declined."""

    line: HistoryRecord
    change: LedgerEntry | None
    place: HistoryCursor


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Some entries, newest first, and where the next page begins; None if there can be no more."""

    entries: Sequence[Entry]
    next: HistoryCursor | None


def get_balance_at(
    ledger: LedgerRepository, history: HistoryRepository, entity: str, at: str | None, sleep: Sleep
) -> Balance:
    """The head as it was shown at some time: as it is, if nothing was written since, or with that undone.

    A commit covers the time from the one before it to its own, so that none that is missing from the history
    can make the answer a wrong one.

    Raises:
        NotFoundError: no balance was set for it by that time, or it was deleted then.
        TemporaryError: the history is not written so far yet.
    """
    head = ledger.head(entity)
    if head is not None and at is not None and at < head.update_time:
        head = _transaction_at(history, entity, at, sleep).before
    if (shown := active_or_none(head)) is None:
        raise NotFoundError("No balance is set for it." if at is None else "No balance was set for it then.")
    return shown


def _transaction_at(history: HistoryRepository, entity: str, at: str, sleep: Sleep) -> Commit:
    for pause in (0.0, *RETRY_DELAYS):
        sleep(pause)
        commit = history.transaction_at(entity, at)
        if commit is not None:
            return commit
    raise TransientError("The history of that time is still being written.")


def list_history(
    ledger: LedgerRepository, history: HistoryRepository, entity: str, after: HistoryCursor | None, limit: int
) -> HistoryPage:
    """A page of what was done, newest first; what was done a moment ago may be missing.

    Raises:
        NotFoundError: no balance was ever set for it, and no order ever asked for it.
    """
    # The line at `after` is read again: some of its entries may be left. And one more, to know if there is.
    most = limit + 2
    lines = history.newest(entity, after, most)
    entries = [entry for line in lines for entry in _entries(line) if not _is_shown(entry.place, after)]
    # Only what there is may have an empty history, for a moment.
    if not entries and after is None and ledger.head(entity) is None:
        raise NotFoundError("No balance was ever set for it.")
    page = entries[:limit]
    if len(entries) > limit:
        return HistoryPage(page, page[-1].place)
    # A commit that changed nothing has no entries: a page may be short, and have another one behind it.
    last = lines[-1] if len(lines) == most else None
    return HistoryPage(page, HistoryCursor(last.time, last.key, _size(last)) if last else None)


def _entries(line: HistoryRecord) -> Iterator[Entry]:
    if isinstance(line, Hold):
        yield Entry(line, None, HistoryCursor(line.time, line.key, 0))
        return
    for index, change in enumerate(line.changes):
        yield Entry(line, change, HistoryCursor(line.time, line.key, index))


def _size(line: HistoryRecord) -> int:
    return len(line.changes) if isinstance(line, Commit) else 1


def _is_shown(place: HistoryCursor, after: HistoryCursor | None) -> bool:
    return (
        after is not None
        and (place.time, place.key) == (after.time, after.key)
        and place.index <= after.index
    )
