"""`make run`: the engine, the stack, the demo. Whatever an earlier run left half done is put right."""

import argparse
import sys

import httpx
from rich.markup import escape

from local import demo, docs, engine, stack
from local.console import console, step
from local.lock import BusyError, exclusive
from local.tokens import TokenError, Tokens

_LOG = engine.ROOT / ".local/deploy.log"


def main() -> int:
    """Run it all; the API stays up afterwards."""
    parser = argparse.ArgumentParser(prog="make run")
    parser.add_argument("--port", type=int, help=f"of the engine (default: {engine.DEFAULT_PORT})")
    port = parser.parse_args().port
    if port is not None and not 0 < port < 65536:
        parser.error(f"PORT={port} is not a port")
    try:
        with exclusive("run", wait=False):
            running = _engine(port)
            description = _deployed(running)
        demo.run(description["apiUrl"], description["socketUrl"], Tokens(description).of_service())
        console.print("\nThe API's documentation:", description["docsUrl"], soft_wrap=True)
    except (BusyError, engine.EngineError, stack.DeployError, TokenError, demo.DemoError) as error:
        console.print("\n[red]Error:[/]", escape(str(error)), soft_wrap=True)
        return 1
    except httpx.HTTPError as error:
        console.print(
            "\n[red]The API does not answer:[/]",
            escape(str(error)),
            "(`make logs` shows the functions' logs)",
        )
        return 1
    except KeyboardInterrupt:
        console.print("\nInterrupted. `make stop` stops the engine, `make run` goes on.")
        return 130
    return 0


def _engine(port: int | None) -> engine.Engine:
    """The engine that runs already, where it is fit for use; otherwise a new one."""
    running = engine.find()
    if running is not None:
        reason = _unfit(running, port)
        if reason is None:
            return running
        if port not in (None, running.port):
            engine.require_free(port)  # or one would be stopped and no other started
        with step(f"Stopping the engine on port {running.port}: {reason}"):
            running.stop()
        port = port or running.port
    port = port or engine.DEFAULT_PORT
    with step(f"Starting the engine on port {port}"):
        return engine.start(port)


def _unfit(running: engine.Engine, port: int | None) -> str | None:
    if port is not None and port != running.port:
        return f"port {port} is asked for"
    if not running.is_ready():
        return "it does not answer"
    if running.is_outdated():
        return "it has been updated"
    status = stack.status(running)
    if status is not None and not status.endswith(("CREATE_COMPLETE", "UPDATE_COMPLETE")):
        return f"the stack was left in {status}"
    return None


def _deployed(running: engine.Engine) -> dict[str, str]:
    with step("Building and deploying the stack with sam"):
        description = stack.deploy(running, _LOG)
    stack.write(description)
    docs.write()
    return description


if __name__ == "__main__":
    sys.exit(main())
