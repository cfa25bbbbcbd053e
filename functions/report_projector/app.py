"""report_projector: counts what happens to orders in the daily reports."""

from __future__ import annotations

from collections.abc import Sequence

from order_capture import bootstrap
from order_capture.adapters.messaging import envelopes
from order_capture.adapters.system import backoff, clock
from order_capture.application.messages import ReceivedOrderSummary
from order_capture.application.reports.project_reports import project_reports
from order_capture.entrypoints.invocations import has_time_left
from order_capture.entrypoints.sqs import queue_handler


def work(messages: Sequence[ReceivedOrderSummary]) -> set[str]:
    """Count each event, once."""
    return project_reports(bootstrap.reports(), messages, clock, backoff, has_time_left)


handler = queue_handler(work, ReceivedOrderSummary, read=envelopes.decode_summary)
