"""console: serves the page for watching orders, and for finding and repairing stuck ones."""

from __future__ import annotations

from pathlib import Path

from order_capture.entrypoints.http.api import Request, Response
from order_capture.entrypoints.http.handler import api_handler
from order_capture.entrypoints.http.pages import Pages

app = Pages(Path(__file__).parent / "files")


@app.get("/console")
def get_page(request: Request) -> Response:
    """GET /console."""
    return app.page(request)


@app.get("/console/config.json")
def get_config(request: Request) -> Response:
    """GET /console/config.json."""
    return app.config(request)


@app.get("/console/{file}")
def get_file(request: Request) -> Response:
    """GET /console/{file}."""
    return app.file(request)


handler = api_handler(app, probe="/console")
