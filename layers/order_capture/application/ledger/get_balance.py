"""Get the balance of an account or a product, now or at an earlier time."""

from __future__ import annotations

from dataclasses import dataclass

from order_capture.application.ledger.ports import HistoryRepository
from order_capture.application.ports import LedgerRepository, Sleep
from order_capture.domain.errors import BalanceMovingError, NotFoundError, TransientError
from order_capture.domain.ledger import Balance, active_or_none
from order_capture.domain.stripes import Heads, is_undivided, total

# Seconds between reads of a history that is not written far enough yet. It follows the ledger's stream, with
# a window of two seconds (template.yaml); after four, the client is asked to retry.
RETRY_DELAYS = (0.2, 0.3, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5)

MAX_READS = 10
"""Reads of the heads of one customer or product. Even a hot one seldom needs more than two."""


@dataclass(frozen=True, slots=True)
class GetBalance:
    """Read balances of one ledger, with its history."""

    ledger: LedgerRepository
    history: HistoryRepository
    sleep: Sleep

    def get(self, entity: str, at: str | None) -> Balance:
        """Return the balance at a time: the current one, with everything undone that was written since.

        A commit covers the time from the commit before it to its own. So a commit that is missing from the
        history can't cause a wrong answer.

        Raises:
            NotFoundError: no balance was set for it by that time, or it was deleted then, or the books of
                that time are closed.
            TransientError: the history is not written that far yet, or the balance is too hot to be read.
        """
        heads = read_heads(self.ledger, entity)
        if at is not None:
            heads = self._heads_at(entity, heads, at)
        if (balance := active_or_none(total(entity, heads))) is None:
            raise NotFoundError(
                "No balance is set for it." if at is None else "No balance was set for it then."
            )
        return balance

    def _heads_at(self, entity: str, heads: Heads, at: str) -> Heads:
        """The heads at that time."""
        then: dict[str, Balance | None] = {
            name: head for name, head in heads.items() if head.update_time <= at
        }
        # The delays are shared by all heads: a client waits no longer for a product with stripes.
        for delay in (0.0, *RETRY_DELAYS):
            self.sleep(delay)
            for name in heads.keys() - then.keys():
                if (commit := self.history.transaction_at(name, at)) is not None:
                    then[name] = commit.before
            if len(then) == len(heads):
                return {name: head for name, head in then.items() if head is not None}
            if not delay and at <= (closed := self.ledger.closed_until()):
                raise NotFoundError(f"Balances before {closed} are not kept.")
        raise TransientError("The history of that time is still being written.")


def read_heads(ledger: LedgerRepository, entity: str) -> Heads:
    """Read the heads of a customer or product, without a transfer between the reads; empty if it is unknown.

    Orders may be held and settled meanwhile: each head is as it was at some moment of the call.

    Raises:
        BalanceMovingError: there was a transfer during every attempt.
    """
    heads = ledger.heads(entity)
    for _ in range(MAX_READS):
        if len(heads) <= 1:
            return heads
        before, heads = heads, ledger.heads(entity, len(heads) - 1)
        if is_undivided(before, heads):
            return heads
    raise BalanceMovingError("Too many orders are changing this balance.")
