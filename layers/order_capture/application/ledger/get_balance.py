"""Get the balance of an account or a product, as it is now or as it was at some time."""

from __future__ import annotations

from dataclasses import dataclass

from order_capture.application.ledger.ports import HistoryRepository
from order_capture.application.ports import LedgerRepository, Sleep
from order_capture.domain.errors import NotFoundError, TransientError
from order_capture.domain.history import Commit
from order_capture.domain.ledger import Balance, active_or_none

# Seconds between reads for what the history does not have yet. It follows the ledger's stream, mostly well
# within a second; after two and a half the client is asked to retry.
RETRY_DELAYS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.5)


@dataclass(frozen=True, slots=True)
class GetBalance:
    """Read balances of one ledger, with its history."""

    ledger: LedgerRepository
    history: HistoryRepository
    sleep: Sleep

    def get(self, entity: str, at: str | None) -> Balance:
        """Return the balance at some time: as it is, if nothing was written since, or with that undone.

        A commit covers the time from the one before it to its own, so that none that is missing from the
        history can make the answer a wrong one.

        Raises:
            NotFoundError: no balance was set for it by that time, or it was deleted then.
            TransientError: the history is not written so far yet.
        """
        head = self.ledger.head(entity)
        if head is not None and at is not None and at < head.update_time:
            head = self._commit_after(entity, at).before
        if (balance := active_or_none(head)) is None:
            raise NotFoundError(
                "No balance is set for it." if at is None else "No balance was set for it then."
            )
        return balance

    def _commit_after(self, entity: str, at: str) -> Commit:
        for delay in (0.0, *RETRY_DELAYS):
            self.sleep(delay)
            commit = self.history.transaction_at(entity, at)
            if commit is not None:
                return commit
        raise TransientError("The history of that time is still being written.")
