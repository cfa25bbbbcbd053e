"""Look back: what was done to an account or a product, and how it stood at some time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from order_capture.application.history_ports import History, LinePlace
from order_capture.application.ports import Ledger
from order_capture.domain.errors import NotFoundError, TemporaryError
from order_capture.domain.history import Change, Commit, Line
from order_capture.domain.ledger import Head, Hold, known

# Seconds between looks for what the history does not have yet. It follows the ledger's stream, mostly well
# within a second; after two and a half the client is told to ask again.
LOOKS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.5)

Sleep = Callable[[float], None]
"""Does nothing for so many seconds."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that was done: a part of a commit, or a hold that was declined."""

    line: Line
    change: Change | None
    place: LinePlace


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Some entries, newest first, and where the next page begins; None if there can be no more."""

    entries: Sequence[Entry]
    next: LinePlace | None


def get_balance_at(ledger: Ledger, history: History, entity: str, at: str | None, sleep: Sleep) -> Head:
    """The head as it was shown at some time: as it is, if nothing was written since, or with that undone.

    A commit covers the time from the one before it to its own, so that none that is missing from the history
    can make the answer a wrong one.

    Raises:
        NotFoundError: no balance was set for it by that time, or it was deleted then.
        TemporaryError: the history is not written so far yet.
    """
    head = ledger.head(entity)
    if head is not None and at is not None and at < head.update_time:
        head = _covering(history, entity, at, sleep).before
    if (shown := known(head)) is None:
        raise NotFoundError("No balance is set for it." if at is None else "No balance was set for it then.")
    return shown


def _covering(history: History, entity: str, at: str, sleep: Sleep) -> Commit:
    for pause in (0.0, *LOOKS):
        sleep(pause)
        commit = history.covering(entity, at)
        if commit is not None:
            return commit
    raise TemporaryError("The history of that time is still being written.")


def list_history(
    ledger: Ledger, history: History, entity: str, after: LinePlace | None, limit: int
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
    return HistoryPage(page, LinePlace(last.time, last.key, _size(last)) if last else None)


def _entries(line: Line) -> Iterator[Entry]:
    if isinstance(line, Hold):
        yield Entry(line, None, LinePlace(line.time, line.key, 0))
        return
    for index, change in enumerate(line.changes):
        yield Entry(line, change, LinePlace(line.time, line.key, index))


def _size(line: Line) -> int:
    return len(line.changes) if isinstance(line, Commit) else 1


def _is_shown(place: LinePlace, after: LinePlace | None) -> bool:
    return (
        after is not None
        and (place.time, place.key) == (after.time, after.key)
        and place.index <= after.index
    )
