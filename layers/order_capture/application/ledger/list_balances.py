"""List the balances of all customers or products, page by page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from order_capture.application.ledger.get_balance import MAX_READS
from order_capture.application.ports import LedgerRepository
from order_capture.domain.errors import BalanceMovingError
from order_capture.domain.ledger import Balance, active_or_none
from order_capture.domain.stripes import Heads, is_undivided, total

# Deleted ones are in the index, and skipped. The reads of one request are bounded: after this many, the page
# is returned as it is, and the next one continues from there.
MAX_READ = 500
CHUNK = 100
"""Customers or products read at a time after a page turned out to be short."""


@dataclass(frozen=True, slots=True)
class BalanceQuery:
    """The customers or products whose ids begin with `prefix`; `after` is the last id of the page before."""

    prefix: str
    after: str | None
    limit: int


@dataclass(frozen=True, slots=True)
class BalancePage:
    """A page of balances, by id, and where the next page begins; None if there can be no more."""

    balances: Mapping[str, Balance]
    next: str | None


@dataclass(frozen=True, slots=True)
class ListBalances:
    """Read the balances of one ledger."""

    ledger: LedgerRepository

    def list_page(self, query: BalanceQuery) -> BalancePage:
        """Return the next page. It can be short, even empty, and still have a next one.

        Raises:
            BalanceMovingError: too many orders are changing one of the balances.
            TransientError: not all could be read.
        """
        found: dict[str, Balance] = {}
        after, read, chunk = query.after, 0, query.limit
        while read < MAX_READ:
            # One more than requested, to see whether there is another page.
            entities = self.ledger.list_entities(query.prefix, after, chunk + 1)
            page, more = entities[:chunk], len(entities) > chunk
            balances = self._balances(page)
            for entity in page:
                after = entity
                if (balance := active_or_none(balances.get(entity))) is not None:
                    found[entity] = balance
                if len(found) == query.limit:
                    return BalancePage(found, after if more or entity != page[-1] else None)
            if not more:
                return BalancePage(found, None)
            read, chunk = read + len(page), CHUNK
        return BalancePage(found, after)

    def _balances(self, entities: Sequence[str]) -> Mapping[str, Balance | None]:
        """The balances of these ids. Those with stripes are read again until no transfer interferes."""
        heads = dict(self.ledger.heads_of(dict.fromkeys(entities, 0)))
        moving = {
            entity: root.stripes for entity, roots in heads.items() for root in roots.values() if root.stripes
        }
        before: Mapping[str, Heads] = {}
        for _ in range(MAX_READS):
            if not moving:
                return {entity: total(entity, each) for entity, each in heads.items()}
            now = self.ledger.heads_of(moving)
            heads |= now
            still = {entity for entity, each in now.items() if not is_undivided(before.get(entity, {}), each)}
            moving = {entity: number for entity, number in moving.items() if entity in still}
            before = now
        raise BalanceMovingError("Too many orders at this moment.")
