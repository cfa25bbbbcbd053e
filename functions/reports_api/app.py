"""reports_api: tells what happened on which day."""

from __future__ import annotations

from order_capture.adapters import dynamodb_reports, reports
from order_capture.adapters.http import Request, Response, Routes, http_handler
from order_capture.application.get_reports import get_reports


def get_daily(request: Request) -> Response:
    """GET /reports/daily."""
    query = reports.report_query(request)
    page = get_reports(dynamodb_reports.of_function(), query)
    return Response(reports.reports_view(page), headers=reports.page_headers(request, page))


ROUTES: Routes = {("GET", "/reports/daily"): get_daily}
handler = http_handler(ROUTES)
