"""`make docs`: build the documentation's site, and optionally serve it."""

from __future__ import annotations

import os
import sys
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

from local import docs_api, docs_site, engine
from local.console import console, step
from local.docs_site import SITE
from local.engine_guard import DOCS_PATH
from order_capture_ops import cli
from order_capture_ops.errors import CommandError

DEFAULT_PORT = 8000


def write() -> None:
    """Build the site, including the API's page."""
    docs_site.build(docs_api.page())


def main(arguments: list[str] | None = None) -> int:
    """`python -m local.docs`."""
    parser = cli.Parser(
        prog="make docs", description=__doc__, example=f"make docs SERVE=1 PORT={DEFAULT_PORT + 1}"
    )
    parser.add_argument("--serve", action="store_true", help="serve it until Ctrl-C")
    parser.add_argument(
        "--port", type=cli.port, default=DEFAULT_PORT, help=f"port to serve it on (default: {DEFAULT_PORT})"
    )
    options = parser.parse_args(arguments)
    return cli.run(lambda: _make(options.port if options.serve else None))


def _make(port: int | None) -> int:
    with step("Building the documentation"):
        write()
    console.print("As files:", str((SITE / "index.html").relative_to(engine.ROOT)), soft_wrap=True)
    running = engine.find()
    if running is not None:
        console.print(f"Served by the engine: {running.url}{DOCS_PATH}/", soft_wrap=True)
    if port is not None:
        _serve(port)
    return 0


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Do not log each file."""


def _serve(port: int) -> None:
    """Serve the site's files until Ctrl-C, or until the parent process ends."""
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), partial(_Quiet, directory=SITE))
    except OSError as error:
        raise CommandError(f"Port {port} is taken. For example: make docs SERVE=1 PORT={port + 1}") from error
    parent = os.getppid()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    console.print(f"Served at http://127.0.0.1:{port}/ until Ctrl-C", soft_wrap=True)
    while os.getppid() == parent:
        time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
