"""List the queues of the pipeline with their numbers of messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from order_capture.application.operations.ports import QueueRepository, QueueStatus


@dataclass(frozen=True, slots=True)
class ListQueues:
    """Read the status of the queues."""

    queues: QueueRepository

    def list(self) -> Sequence[QueueStatus]:
        """Return every queue, topic and stream, in the order in which an order passes them."""
        return self.queues.statuses()
