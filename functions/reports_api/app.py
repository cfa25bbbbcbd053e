"""reports_api: shows the daily reports."""

from __future__ import annotations

from order_capture import bootstrap
from order_capture.entrypoints.http import reports
from order_capture.entrypoints.http.api import Request, Response, RestApi
from order_capture.entrypoints.http.handler import api_handler

app = RestApi()


@app.get("/reports/daily")
def get_daily(request: Request) -> Response:
    """GET /reports/daily."""
    page = bootstrap.get_reports().get_page(reports.report_query(request))
    return Response(reports.reports_view(page), headers=reports.page_headers(request, page))


handler = api_handler(app, probe="/reports/daily")
