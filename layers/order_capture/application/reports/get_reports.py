"""Get the daily reports, page by page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from order_capture.application.reports.ports import ReportRepository
from order_capture.domain.reports import Row, RowKey


@dataclass(frozen=True, slots=True)
class ReportQuery:
    """The days from `since` to `until`, both included; `after` is the last row of the previous page."""

    since: date
    until: date
    limit: int
    after: RowKey | None


@dataclass(frozen=True, slots=True)
class ReportPage:
    """A page of rows, day by day, and the row after which the next page begins; None if there is none."""

    rows: Sequence[Row]
    next: RowKey | None


@dataclass(frozen=True, slots=True)
class GetReports:
    """Read the daily reports."""

    reports: ReportRepository

    def get_page(self, query: ReportQuery) -> ReportPage:
        """Return the next page. A day on which nothing happened has no rows."""
        generation = self.reports.generations().current
        rows: list[Row] = []
        day = max(query.since, date.fromisoformat(query.after.day)) if query.after else query.since
        while day <= query.until:
            name = day.isoformat()
            after = query.after if query.after and query.after.day == name else None
            # One more than a page holds, to see whether there is another page.
            rows += self.reports.rows(generation, name, after, query.limit + 1 - len(rows))
            if len(rows) > query.limit:
                return ReportPage(rows[: query.limit], rows[query.limit - 1].key)
            if day == query.until:
                break  # there is no day after 9999-12-31
            day += timedelta(days=1)
        return ReportPage(rows, None)
