"""report_projector: counts what happens to orders in the daily reports."""

from __future__ import annotations

from collections.abc import Sequence

from order_capture.adapters import cloudevents, dynamodb_reports
from order_capture.adapters.queues import queue_handler
from order_capture.adapters.runtime import clock, pause
from order_capture.application.messages import OrderNews
from order_capture.application.project_reports import project_reports


def work(news: Sequence[OrderNews]) -> set[str]:
    """Count each event, once."""
    return project_reports(dynamodb_reports.of_function(), cloudevents.fact_from, news, clock, pause)


handler = queue_handler(work, OrderNews)
