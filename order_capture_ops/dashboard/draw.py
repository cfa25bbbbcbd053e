"""`make dashboard`: draw the stack's dashboard into a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import botocore.exceptions

from order_capture_ops.dashboard import page
from order_capture_ops.dashboard.page import AlarmState
from order_capture_ops.dashboard.panels import Dashboard, DashboardError, parse
from order_capture_ops.dashboard.sources import (
    CLOUDWATCH_PERIOD,
    CloudWatchMetrics,
    LocalMetrics,
    MetricSource,
    PanelData,
    Span,
)
from order_capture_ops.errors import UsageError
from order_capture_ops.progress import ProgressCallback
from order_capture_ops.stack import Stack

OUTPUT = Path(__file__).resolve().parents[2] / ".local/dashboard.html"
DEFAULT_SPAN = timedelta(hours=1)
MAX_SPAN = timedelta(days=90)
"""With day-long periods, a chart has this many points; CloudWatch keeps minutes for 15 days only."""


def draw(
    stack: Stack, since: datetime | None, output: Path, on_progress: ProgressCallback = lambda *_: None
) -> list[PanelData]:
    """Draw a stack's dashboard; returns its contents.

    Args:
        stack: the stack.
        since: the beginning; the end is now. None for the last hour.
        output: the file, which is replaced.
        on_progress: is called for each panel, and on the local engine for each function whose log is read.

    Raises:
        UsageError: `since` is in the future, or too long ago.
        DashboardError: the stack has no dashboard, or its data can't be read.
    """
    now = datetime.now(UTC)
    start = since or now - DEFAULT_SPAN
    if not timedelta() < now - start <= MAX_SPAN:
        raise UsageError(
            f"SINCE (--since): {start:%Y-%m-%dT%H:%MZ} is not in the last {MAX_SPAN.days} days.\n"
            "For example: make dashboard SINCE=3h"
        )
    if output.is_dir():
        raise UsageError(f"OUTPUT (--output): {output} is a directory.\nFor example: OUTPUT=dashboard.html")
    dashboard = _deployed(stack)
    span = Span.between(start, now, CLOUDWATCH_PERIOD if stack.on_aws else 1)
    source: MetricSource = (
        CloudWatchMetrics(stack) if stack.on_aws else LocalMetrics(stack, span, on_progress)
    )
    drawn = []
    for panel in dashboard.panels:
        drawn.append(source.read(panel, span))
        on_progress("panels", 1)
    region = stack.client("cloudwatch").meta.region_name
    where = f"AWS, {region}" if stack.on_aws else "the local engine"
    page.write(page.render(stack.name, where, span, _alarms(stack, dashboard.alarms), drawn), output)
    return drawn


def _deployed(stack: Stack) -> Dashboard:
    name = stack.output("DashboardName")
    try:
        return parse(stack.client("cloudwatch").get_dashboard(DashboardName=name)["DashboardBody"])
    except botocore.exceptions.ClientError as error:
        if error.response["Error"]["Code"] not in ("ResourceNotFound", "DashboardNotFoundError"):
            raise
        raise DashboardError(
            f"The dashboard {name} does not exist: deploy the stack again to create it."
        ) from error


def _alarms(stack: Stack, names: Sequence[str]) -> list[AlarmState]:
    """The state of these alarms, in the given order, named as in the template."""
    pages = stack.client("cloudwatch").get_paginator("describe_alarms")
    found: dict[str, str] = {}
    types = ["MetricAlarm", "CompositeAlarm"]
    for described in pages.paginate(AlarmNamePrefix=f"{stack.name}-", AlarmTypes=types):
        each: Mapping[str, Any]
        for each in (*described["MetricAlarms"], *described.get("CompositeAlarms", ())):
            found[each["AlarmName"]] = each["StateValue"]
    return [
        # CloudFormation names them <stack>-<logical id>-<random>.
        AlarmState(name.removeprefix(f"{stack.name}-").rpartition("-")[0] or name, found.get(name, "gone"))
        for name in names
    ]
