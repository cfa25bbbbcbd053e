"""The customers and products that are currently contended, as observed by this process."""

from __future__ import annotations

from dataclasses import dataclass, field

from order_capture.domain.times import after

REMEMBERED_SECONDS = 2.0
"""Seconds for which a process uses the same stripe after a conflict. Then it starts with the root again. This
is long enough that batches seldom conflict at the root, and short enough that a product that is cold again
uses one head."""

MAX_REMEMBERED = 1_000
"""Maximum customers and products in memory; a forgotten one is detected again by a conflict."""


@dataclass(slots=True)
class HotHeads:
    """The head that this process currently uses for a customer or product."""

    _known: dict[str, tuple[str, int, str]] = field(default_factory=dict)

    def find(self, entity: str, now: str) -> tuple[str, int]:
        """Return the head to use (the root unless it is hot), and the number of known stripes."""
        head, stripes, until = self._known.get(entity, (entity, 0, ""))
        return (head, stripes) if now < until else (entity, 0)

    def is_hot(self, entity: str, now: str) -> bool:
        """Whether it uses a head other than the root."""
        return self.find(entity, now)[0] != entity

    def remember(self, entity: str, head: str, stripes: int, now: str) -> None:
        """Use this head for a while from now on."""
        if len(self._known) >= MAX_REMEMBERED:
            self._known = {each: place for each, place in self._known.items() if now < place[2]}
        if entity in self._known or len(self._known) < MAX_REMEMBERED:
            self._known[entity] = head, stripes, after(now, REMEMBERED_SECONDS)
