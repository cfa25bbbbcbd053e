"""report_projector: counts what happens to orders in the daily reports."""

from __future__ import annotations

from collections.abc import Sequence

from order_capture.adapters import cloudevents, dynamodb_reports
from order_capture.adapters.invocations import in_time
from order_capture.adapters.queues import queue_handler
from order_capture.adapters.runtime import clock, pause
from order_capture.application.messages import OrderTold
from order_capture.application.project_reports import project_reports


def work(messages: Sequence[OrderTold]) -> set[str]:
    """Count each event, once."""
    return project_reports(dynamodb_reports.of_function(), messages, clock, pause, in_time)


handler = queue_handler(work, OrderTold, read=cloudevents.decode_fact)
