"""`make bridge`: lets containers on this machine reach the engine, for `sam local`.

The engine listens on the loopback interface only, and each container has its own. The bridge listens on the
Docker bridge's address, which only containers and this machine can reach, and forwards connections.
"""

import contextlib
import socket
import socketserver
import sys
import threading
from collections.abc import Iterator

import psutil

from local import engine
from order_capture_ops.cli import Parser, console, run
from order_capture_ops.errors import CommandError

DESKTOP_HOST = "host.docker.internal"
"""This machine's name in Docker Desktop's containers, which can reach its loopback interface directly."""

_INTERFACE = "docker0"


def bridge_address() -> str | None:
    """This machine's address on the Docker bridge; None without a bridge."""
    addresses = psutil.net_if_addrs().get(_INTERFACE, [])
    return next((each.address for each in addresses if each.family == socket.AF_INET), None)


def container_hosts() -> list[str]:
    """The hostnames by which containers may reach the engine on this machine."""
    return [DESKTOP_HOST, *filter(None, [bridge_address()])]


@contextlib.contextmanager
def relay(address: str, to_port: int, port: int = 0) -> Iterator[int]:
    """Forward connections from a port of an address (0: a free one) to a port of the loopback interface.

    Yields:
        the port that it listens on.
    """

    class Connection(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(("127.0.0.1", to_port)) as engine_side:
                back = threading.Thread(target=_pump, args=(engine_side, self.request), daemon=True)
                back.start()
                _pump(self.request, engine_side)
                back.join()

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    with Server((address, port), Connection) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def main(arguments: list[str] | None = None) -> int:
    """`make bridge`."""
    Parser(prog="make bridge", description=__doc__, example="make bridge").parse_args(arguments)
    return run(_bridge)


def _bridge() -> int:
    running = engine.find()
    if running is None:
        raise CommandError("No engine runs here: `make run` starts it.")
    address = bridge_address()
    if address is None:
        raise CommandError(
            f"This machine has no interface {_INTERFACE}. Docker Desktop needs no bridge: its containers "
            f"reach the engine at http://{DESKTOP_HOST}:{running.port}"
        )
    try:
        with relay(address, running.port, running.port):
            console.print(f"Containers reach the engine at http://{address}:{running.port} until Ctrl-C")
            threading.Event().wait()
    except OSError as error:
        raise CommandError(f"Can't listen on {address}:{running.port}: {error.strerror}") from error
    return 0


if __name__ == "__main__":
    sys.exit(main())
