"""The customers and products that are currently contended, as observed by this process."""

from __future__ import annotations

from dataclasses import dataclass, field

from order_capture.domain.times import after

REMEMBERED_SECONDS = 2.0
"""After a conflict, a process uses the same stripe for so long, and then begins with the root again. It is
long enough that a batch seldom meets the others at the root, short enough that what is cold again is one
head."""

MAX_REMEMBERED = 1_000
"""Customers and products in memory; what is forgotten is found out again by a conflict."""


@dataclass(slots=True)
class HotHeads:
    """The head that this process uses for a customer or product for the time being."""

    _known: dict[str, tuple[str, int, str]] = field(default_factory=dict)

    def find(self, entity: str, now: str) -> tuple[str, int]:
        """Return the head to use, which is the root unless it is hot, and how many stripes are known."""
        head, stripes, until = self._known.get(entity, (entity, 0, ""))
        return (head, stripes) if now < until else (entity, 0)

    def is_hot(self, entity: str, now: str) -> bool:
        """Whether another head than the root is used for it."""
        return self.find(entity, now)[0] != entity

    def remember(self, entity: str, head: str, stripes: int, now: str) -> None:
        """Use this head from now on, for a while."""
        if len(self._known) >= MAX_REMEMBERED:
            self._known = {each: place for each, place in self._known.items() if now < place[2]}
        if entity in self._known or len(self._known) < MAX_REMEMBERED:
            self._known[entity] = head, stripes, after(now, REMEMBERED_SECONDS)
