"""The engine's HTTP server: uvicorn, instead of hypercorn, which ministack starts.

Hypercorn parses HTTP in Python and has a task group, a timer and a queue for each request: half a millisecond
of the engine's one thread, as much as a read of an item takes. uvicorn has parsers in C. It runs in the
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

# Most objects live as long as the engine: modules, and tables with what is in them. Python would look through
# all of them for garbage whenever a quarter as many new ones have come, and through the youngest for each 700
# new ones: a tenth of the engine's time. What a request leaves is mostly freed without that.
_COLLECT_AFTER = (20_000, 20, 50)

# Seconds. Under load the event loop's thread never waits, so each thread that calls a function would wait for
# the interpreter for Python's 5 ms, before the call and after it.
_SWITCH_AFTER = 0.0005


class _AsyncioOnUvloop:
    """What ministack takes for asyncio: the same, but it runs on uvloop."""

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    run = staticmethod(uvloop.run)


class _JoinedWrites:
    """A connection that sends what is written in one turn of the event loop as one packet.

    uvicorn writes a response's head and its body each by itself. Each write is a system call that wakes the
    client, which is a fifth of what a request costs here.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._written: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Send this at the end of the turn."""
        if not self._written:
            asyncio.get_running_loop().call_soon(self._send)
        self._written.append(data)

    def close(self) -> None:
        """Send what is written, and close the connection."""
        self._send()
        self._transport.close()

    def _send(self) -> None:
        written, self._written = self._written, []
        if written:
            self._transport.write(b"".join(written))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class _HttpProtocol(HttpToolsProtocol):  # type: ignore[misc]
    """uvicorn's protocol, whose connections join what they write."""

    def connection_made(self, transport: Any) -> None:
        """Begin with a new connection."""
        super().connection_made(_JoinedWrites(transport))


def _with_subprotocols(application: App) -> App:
    """The same application, which sees the subprotocols that a WebSocket client offers among the headers.

    uvicorn takes that header out, and the function behind the $connect route reads it.
    """

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" and scope["subprotocols"]:
            offered = (b"sec-websocket-protocol", ", ".join(scope["subprotocols"]).encode("latin-1"))
            scope = scope | {"headers": [*scope["headers"], offered]}
        await application(scope, receive, send)

    return serve


async def _serve(application: App, config: Any) -> None:
    """What hypercorn's `serve` does, as far as ministack asks for it."""
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
            reset_contextvars=True,  # a request's caller is in some: never another's
            timeout_keep_alive=int(config.keep_alive_timeout),
        )
    )
    await server.serve()


def install() -> None:
    """Change ministack."""
    hypercorn_asyncio.serve = _serve
    app.asyncio = _AsyncioOnUvloop()
