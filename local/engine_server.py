"""The engine's HTTP server: uvicorn, instead of hypercorn, which ministack starts.

Hypercorn parses HTTP in Python and creates a task group, a timer and a queue per request: half a millisecond
of the engine's only thread, as long as reading an item. uvicorn has parsers in C. This module runs in the
engine's environment.
"""

import asyncio
import gc
import sys
from typing import Any

import uvicorn
import uvloop
from hypercorn import asyncio as hypercorn_asyncio
from ministack import app
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from local.engine_front import App, Receive, Scope, Send

# Most objects live as long as the engine: modules, and tables with their items. Python would scan all of them
# for garbage whenever their number has grown by a quarter, and the youngest for each 700 new ones: a tenth of
# the engine's time. Most of a request's objects are freed without that.
_COLLECT_AFTER = (20_000, 20, 50)

# Seconds. Under load the event loop's thread never waits, so each thread that calls a function would wait
# Python's 5 ms for the interpreter, before and after the call.
_SWITCH_AFTER = 0.0005


class _AsyncioOnUvloop:
    """Replaces asyncio in ministack: the same, but it runs on uvloop."""

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    run = staticmethod(uvloop.run)


class _JoinedWrites:
    """A connection that sends all writes of one event loop iteration as one packet.

    uvicorn writes a response's head and body separately. Each write is a system call that wakes the client, a
    fifth of a request's cost here.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._written: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Send this at the end of the iteration."""
        if not self._written:
            asyncio.get_running_loop().call_soon(self._send)
        self._written.append(data)

    def close(self) -> None:
        """Send pending writes, and close the connection."""
        self._send()
        self._transport.close()

    def _send(self) -> None:
        written, self._written = self._written, []
        if written:
            self._transport.write(b"".join(written))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class _HttpProtocol(HttpToolsProtocol):  # type: ignore[misc]
    """uvicorn's protocol, with joined writes."""

    def connection_made(self, transport: Any) -> None:
        """Start a new connection."""
        super().connection_made(_JoinedWrites(transport))


def _with_subprotocols(application: App) -> App:
    """The same application, with a WebSocket client's offered subprotocols among the headers.

    uvicorn removes that header, and the function of the $connect route reads it.
    """

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" and scope["subprotocols"]:
            offered = (b"sec-websocket-protocol", ", ".join(scope["subprotocols"]).encode("latin-1"))
            scope = scope | {"headers": [*scope["headers"], offered]}
        await application(scope, receive, send)

    return serve


async def _serve(application: App, config: Any) -> None:
    """The part of hypercorn's `serve` that ministack uses."""
    host, _, port = config.bind[0].rpartition(":")
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)
    sys.setswitchinterval(_SWITCH_AFTER)
    server = uvicorn.Server(
        uvicorn.Config(
            _with_subprotocols(application),
            host=host,
            port=int(port),
            http=_HttpProtocol,
            ws="wsproto",
            ws_ping_interval=None,  # API Gateway sends no pings either
            lifespan="on",
            access_log=False,
            log_level="warning",
            date_header=False,  # ministack adds AWS's own
            server_header=False,
            proxy_headers=False,
            reset_contextvars=True,  # some hold a request's caller, which must not leak to another
            timeout_keep_alive=int(config.keep_alive_timeout),
        )
    )
    await server.serve()


def install() -> None:
    """Patch ministack."""
    hypercorn_asyncio.serve = _serve
    app.asyncio = _AsyncioOnUvloop()
