"""The functions' logs in CloudWatch Logs."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import botocore.exceptions

from order_capture.adapters.operations.stack import Stack
from order_capture.adapters.serializers import decimal_json
from order_capture.application.channels import resource_name

# Lambda's own lines around every invocation, in its text and JSON formats.
_PLATFORM = ("START RequestId", "END RequestId", "REPORT RequestId", "INIT_START")
_PLATFORM_JSON = "platform."
_PROBLEM_LEVELS = {"WARNING", "ERROR", "CRITICAL"}


@dataclass(frozen=True)
class LogLine:
    """A log entry of a function."""

    time: int
    """Milliseconds since the epoch, as in CloudWatch."""
    function: str
    text: str

    @property
    def values(self) -> Mapping[str, Any]:
        """The line's fields, if it is JSON."""
        try:
            values = decimal_json.loads(self.text)
        except ValueError:
            return {}
        return values if isinstance(values, dict) else {}

    @property
    def message(self) -> str:
        """The line's message for people."""
        values = self.values
        if "message" in values:
            return str(values["message"])
        if "errorMessage" in values:
            return f"{values.get('errorType', 'error')}: {values['errorMessage']}"
        return platform_failure(values) or self.text

    @property
    def level(self) -> str:
        """INFO, WARNING, ERROR, …; empty if it has none."""
        values = self.values
        return "ERROR" if platform_failure(values) else str(values.get("level", ""))

    @property
    def stack_trace(self) -> list[str]:
        """The lines of its stack trace, if it has one."""
        found = self.values.get("exception") or self.values.get("stackTrace") or []
        return "".join(found).splitlines()

    def concerns(self, *ids: str) -> bool:
        """Whether it contains one of these ids."""
        return any(_id_pattern(each).search(self.text) for each in ids if each)


@dataclass
class FunctionLog:
    """One function's log, read incrementally."""

    logs: Any
    function: str
    group: str
    since: int = 0
    pattern: str = ""
    seen: set[tuple[str, int, str]] = field(default_factory=set)

    def read(self) -> list[LogLine]:
        """The new lines, without Lambda's own."""
        return [line for line in self.read_all() if line.text and not _is_platform(line)]

    def read_all(self) -> list[LogLine]:
        """The new lines, with Lambda's own about the start, end and duration of invocations."""
        lines: list[LogLine] = []
        while new := self._new():
            lines += new
        return lines

    def _new(self) -> list[LogLine]:
        # The local engine returns the first 10,000 events of a time range, without a token for more.
        events = list(self._events())
        keys = [(event["logStreamName"], event["timestamp"], event["message"]) for event in events]
        new = [event for event, key in zip(events, keys, strict=True) if key not in self.seen]
        if new:
            self.since = max(event["timestamp"] for event in new)
            self.seen = {key for key in keys if key[1] == self.since}
        return [LogLine(event["timestamp"], self.function, event["message"].rstrip()) for event in new]

    def _events(self) -> Iterator[Mapping[str, Any]]:
        # On AWS a page may be empty and still have a token for the next page:
        # https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html
        pages = self.logs.get_paginator("filter_log_events")
        pattern = {"filterPattern": self.pattern} if self.pattern else {}
        try:
            for page in pages.paginate(logGroupName=self.group, startTime=self.since, **pattern):
                yield from page["events"]
        except botocore.exceptions.ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise  # a function has no log group before its first invocation


class CloudWatchFunctionLogs:
    """Implements `application.operations.ports.FunctionLogs`."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    def last_problem(self, function: str, ids: Collection[str], seconds: float) -> str | None:  # noqa: D102
        group = self._stack.output(f"{resource_name(function)}LogGroupName")
        since = int((time.time() - seconds - 60) * 1000)
        # Matches any of the terms; the local engine does not support this:
        # https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
        pattern = " ".join(f'?"{each}"' for each in ids) if self._stack.on_aws else ""
        lines = FunctionLog(self._stack.client("logs"), function, group, since, pattern).read()
        problems = [line for line in lines if line.level in _PROBLEM_LEVELS and line.concerns(*ids)]
        return _described(max(problems, key=lambda line: line.time)) if problems else None


def _described(line: LogLine) -> str:
    last = line.stack_trace[-1].strip() if line.stack_trace else ""
    return f"{line.message} ({last})" if last and last not in line.message else line.message


def _is_platform(line: LogLine) -> bool:
    if line.text.startswith(_PLATFORM):
        return True
    values = line.values
    return str(values.get("type", "")).startswith(_PLATFORM_JSON) and not platform_failure(values)


def platform_failure(values: Mapping[str, Any]) -> str:
    """Lambda's own message about a failed invocation, such as a timeout; empty for any other line."""
    record = values.get("record")
    if not str(values.get("type", "")).startswith(_PLATFORM_JSON) or not isinstance(record, dict):
        return ""
    status = record.get("status", "success")
    return "" if status == "success" else f"{values['type']}: {status} {record.get('errorType', '')}".strip()


def _id_pattern(text: str) -> re.Pattern[str]:
    """A pattern for an id that is not part of a longer id."""
    return re.compile(rf"(?<![A-Za-z0-9._:@+~-]){re.escape(text)}(?![A-Za-z0-9_:@+~-])")
