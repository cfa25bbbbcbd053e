"""The ports of the operators' use cases."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from order_capture.application.channels import Channel


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """How full a channel is. Only a queue has messages, and about as many as it says."""

    channel: Channel
    dead_letters: int
    waiting: int = 0
    in_flight: int = 0
    delayed: int = 0
    oldest: float | None = None
    """Age in seconds of the oldest message; None where there is no such metric, as on the local engine."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message in a dead-letter queue."""

    message_id: str
    type: str | None
    """None for a message that this system can't read: it has sent none like it."""
    order_id: str | None
    age: float
    receives: int
    body: str
    rejection: str | None = None
    """Why its function refuses to read it; None if it can."""

    @property
    def is_foreign(self) -> bool:
        """Whether this system did not send it."""
        return self.type is None


@dataclass
class RedriveResult:
    """How many messages were moved, skipped as foreign, and not sent."""

    moved: int = 0
    foreign: int = 0
    failed: int = 0


class QueueRepository(Protocol):
    """The queues of the pipeline, with their dead letters."""

    def statuses(self) -> Sequence[QueueStatus]:
        """Return how full each channel is."""

    def count(self, channel: Channel) -> int:
        """Return about how many dead letters a channel has."""

    def dead_letters(self, channel: Channel, limit: int) -> Sequence[DeadLetter]:
        """Return some of them, and leave them there."""

    def redrive(self, channel: Channel, limit: int) -> RedriveResult:
        """Move at most `limit` of them back, those that are ours: as many as there is time for."""

    def discard(self, channel: Channel, message_ids: Collection[str]) -> int:
        """Delete those of these messages that are not ours; return how many were deleted."""


class FunctionLogs(Protocol):
    """What the functions log."""

    def last_problem(self, function: str, ids: Collection[str], seconds: float) -> str | None:
        """Return the last thing a function logged as a problem with one of these ids, in so many seconds."""
