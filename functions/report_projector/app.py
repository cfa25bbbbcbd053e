"""report_projector: counts order events in the daily reports."""

from __future__ import annotations

from collections.abc import Sequence

from order_capture.entrypoints.sqs import queue_handler
from order_capture import bootstrap
from order_capture.adapters.messaging import envelopes
from order_capture.application.messages import ReceivedOrderEvent


def process(messages: Sequence[ReceivedOrderEvent]) -> set[str]:
    """Count each event, once."""
    return bootstrap.project_reports().process(messages)


handler = queue_handler(process, ReceivedOrderEvent, read=envelopes.decode_checked)
