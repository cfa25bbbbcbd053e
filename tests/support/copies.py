"""A service with its own copy of accounts or stock, from a topic's messages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import simplejson

State = dict[str, Any]


class Copy:
    """The last state of each customer or product, by id: the highest version, in any order of arrival."""

    def __init__(self) -> None:
        self.states: dict[str, State] = {}

    def apply(self, bodies: Iterable[str]) -> None:
        """Apply messages of the topic, which may be late, repeated or out of order."""
        for body in bodies:
            event = simplejson.loads(body, use_decimal=True)
            state, known = event["data"], self.states.get(event["subject"])
            if known is None or known["version"] < state["version"]:
                self.states[event["subject"]] = state | {"updateTime": event["time"]}

    def view(self, entity: str) -> State | None:
        """The state that `GET` returns; None for a 404."""
        state = self.states.get(entity)
        if state is None or state["deleted"]:
            return None
        return {name: value for name, value in state.items() if name not in ("version", "deleted")}
