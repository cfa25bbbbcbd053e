"""Move dead letters back to the queues that they come from."""

from __future__ import annotations

from dataclasses import dataclass

from order_capture.application.channels import Channel
from order_capture.application.operations.ports import QueueRepository, RedriveResult
from order_capture.domain.errors import NotRedrivableError


@dataclass(frozen=True, slots=True)
class Redriven:
    """The number of messages moved, or to be moved in a dry run, and roughly how many dead letters remain."""

    result: RedriveResult
    remaining: int


@dataclass(frozen=True, slots=True)
class RedriveDeadLetters:
    """Move dead letters back. A message that fails again is dead-lettered again: nothing is lost."""

    queues: QueueRepository

    def redrive(self, channel: Channel, limit: int, *, dry_run: bool) -> Redriven:
        """Move at most `limit` dead letters, or, with `dry_run`, only count what would be moved.

        Raises:
            NotRedrivableError: they are stream records, not messages.
        """
        if not channel.redrivable:
            raise NotRedrivableError(channel.name)
        if dry_run:
            messages = self.queues.dead_letters(channel, limit)
            foreign = sum(message.is_foreign for message in messages)
            result = RedriveResult(len(messages) - foreign, foreign)
        else:
            result = self.queues.redrive(channel, limit)
        return Redriven(result, self.queues.count(channel))
