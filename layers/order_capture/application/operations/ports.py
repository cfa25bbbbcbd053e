"""The ports of the operators' use cases."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from order_capture.application.channels import Channel


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """The approximate numbers of a channel's messages. Only a queue has messages."""

    channel: Channel
    dead_letters: int
    waiting: int = 0
    in_flight: int = 0
    delayed: int = 0
    oldest: float | None = None
    """Age in seconds of the oldest message; None without such a metric, as on the local engine."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message in a dead-letter queue."""

    message_id: str
    type: str | None
    """None for a message that this system can't read, and so did not send."""
    order_id: str | None
    age: float
    receives: int
    body: str
    rejection: str | None = None
    """Why its function can't read it; None if it can."""

    @property
    def is_foreign(self) -> bool:
        """Whether this system did not send it."""
        return self.type is None


@dataclass
class RedriveResult:
    """The numbers of messages that were moved, skipped as foreign, and not sent."""

    moved: int = 0
    foreign: int = 0
    failed: int = 0


class QueueRepository(Protocol):
    """The queues of the pipeline, with their dead letters."""

    def statuses(self) -> Sequence[QueueStatus]:
        """Return the status of each channel."""

    def count(self, channel: Channel) -> int:
        """Return the approximate number of a channel's dead letters."""

    def dead_letters(self, channel: Channel, limit: int) -> Sequence[DeadLetter]:
        """Return some of a channel's dead letters, and leave them in the queue."""

    def redrive(self, channel: Channel, limit: int) -> RedriveResult:
        """Move at most `limit` dead letters back, except foreign ones, as time permits."""

    def discard(self, channel: Channel, message_ids: Collection[str]) -> int:
        """Delete the foreign ones of these messages; return their number."""


class FunctionLogs(Protocol):
    """The functions' logs."""

    def last_problem(self, function: str, ids: Collection[str], seconds: float) -> str | None:
        """Return the last problem that a function logged with one of these ids, within the last `seconds`."""
