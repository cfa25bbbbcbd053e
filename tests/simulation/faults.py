"""The faults of calls and of messages in transit, and the strategies that choose them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Protocol


class Fault(StrEnum):
    """What happens to a call to AWS."""

    CRASH_BEFORE = "crash before"
    CRASH_AFTER = "crash after"
    FAIL_BEFORE = "fail before"  # nothing was done, and botocore has given up trying
    FAIL_AFTER = "fail after"  # it was done, but its response is lost
    ANSWER_LOST = "answer lost"  # it was done, its response was lost, and botocore retries
    THROTTLED = "throttled"
    STALLED = "stalled"  # the process hangs until its messages are delivered to another one
    CONFLICT = "conflict"
    PARTIAL = "partial"  # HTTP 200, and some of it was not done
    STALE = "stale"


class Mishap(StrEnum):
    """What happens to a message on its way into a queue, or long after it was processed."""

    DUPLICATE = "duplicate"
    DUPLICATE_LATER = "duplicate later"
    LATE = "late"
    LOST = "lost"
    DEAD_LETTER = "dead letter"  # the topic can't deliver it: it is redriven later
    EXTRA_FIELDS = "extra fields"  # a newer release of the sender adds unknown fields
    NEXT_VERSION = "next version"  # a newer release sends what only a newer one can read
    POISON = "poison"
    REPLAYED = "replayed"  # again, with a new message id, as a redrive does


_ALWAYS = (
    Fault.CRASH_BEFORE,
    Fault.CRASH_AFTER,
    Fault.FAIL_BEFORE,
    Fault.FAIL_AFTER,
    Fault.ANSWER_LOST,
    Fault.THROTTLED,
    Fault.STALLED,
)
_WRITE = (*_ALWAYS, Fault.CONFLICT)
_BATCH = (*_ALWAYS, Fault.PARTIAL)
POSSIBLE: Mapping[str, tuple[Fault, ...]] = {
    "get_item": _ALWAYS,
    "batch_get_item": _BATCH,
    "put_item": _WRITE,
    "update_item": _WRITE,
    "transact_write_items": _WRITE,
    "publish_batch": _BATCH,
    "send_message": _ALWAYS,
    "send_message_batch": _BATCH,
    "change_message_visibility_batch": _BATCH,
}
"""The possible faults of a call, by its operation. An eventually consistent read can also be STALE."""


class Faults(Protocol):
    """Chooses the fault of each call and each message."""

    def of_call(self, possible: Sequence[Fault]) -> Fault | None:
        """What happens to the next call."""

    def of_message(self, possible: Sequence[Mishap]) -> Mishap | None:
        """What happens to the next message."""


class NoFaults:
    """Everything works."""

    def of_call(self, possible: Sequence[Fault]) -> Fault | None:
        return None

    def of_message(self, possible: Sequence[Mishap]) -> Mishap | None:
        return None


class RandomFaults:
    """Each schedule has its own rates of some kinds of faults: low rates of all, or a high rate of one."""

    def __init__(self, chance: random.Random, *, storm: bool) -> None:
        """`storm` makes all kinds of faults frequent, to reach rare cases."""
        self._chance = chance
        self._rate = 0.25 if storm else chance.choice((0.0, 0.02, 0.06, 0.12, 0.25))
        self._mishap_rate = chance.choice((0.0, 0.02, 0.06, 0.15))
        kinds = len(Fault) if storm else chance.choice((1, 2, 3, 5, len(Fault)))
        self._shares = dict.fromkeys(chance.sample(list(Fault), kinds), 1)
        if storm:  # rare cases follow a conflict
            self._shares[Fault.CONFLICT] = 6
        # The watchdog's next check repairs an unnoticed partial failure of a batch call: only several in a
        # row reveal it.
        if not storm and chance.random() < 0.04:
            self._rate, self._shares = 0.5, {Fault.PARTIAL: 1}
        self._mishaps = set(chance.sample(list(Mishap), chance.choice((1, 3, len(Mishap)))))
        # A fault that resends a lost message only once shows only if that is lost as well.
        if not storm and chance.random() < 0.04:
            self._mishap_rate, self._mishaps = 0.5, {Mishap.LOST}

    def of_call(self, possible: Sequence[Fault]) -> Fault | None:
        if self._chance.random() >= self._rate:
            return None
        kinds = [fault for fault in possible for _ in range(self._shares.get(fault, 0))]
        return self._chance.choice(kinds) if kinds else None

    def of_message(self, possible: Sequence[Mishap]) -> Mishap | None:
        if self._chance.random() >= self._mishap_rate:
            return None
        kinds = [mishap for mishap in possible if mishap in self._mishaps]
        return self._chance.choice(kinds) if kinds else None


class ScriptedFaults:
    """The given faults, at the calls with these numbers; messages have no faults."""

    def __init__(self, at: Mapping[int, Fault]) -> None:
        self._at = at
        self.calls = 0

    def of_call(self, possible: Sequence[Fault]) -> Fault | None:
        self.calls += 1
        fault = self._at.get(self.calls - 1)
        return fault if fault in possible else None

    def of_message(self, possible: Sequence[Mishap]) -> Mishap | None:
        return None


Cells = Counter[tuple[str, str]]
"""How often each kind of fault occurred at each point."""
