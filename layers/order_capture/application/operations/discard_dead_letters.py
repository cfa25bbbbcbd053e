"""Delete dead letters that this system never sent."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from order_capture.application.channels import Channel
from order_capture.application.operations.ports import QueueRepository
from order_capture.domain.errors import NotRedrivableError


@dataclass(frozen=True, slots=True)
class DiscardDeadLetters:
    """Delete foreign messages: a redrive would not help, and no order needs them."""

    queues: QueueRepository

    def discard(self, channel: Channel, message_ids: Collection[str]) -> int:
        """Delete the foreign ones of these messages; return their number. All others stay.

        Raises:
            NotRedrivableError: they are stream records, not messages.
        """
        if not channel.redrivable:
            raise NotRedrivableError(channel.name)
        return self.queues.discard(channel, message_ids)
