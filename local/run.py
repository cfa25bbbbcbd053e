"""`make run`: start the engine, deploy the stack, run the demo. Recovers from interrupted runs."""

import sys
import time

import httpx
from botocore.exceptions import BotoCoreError, ClientError
from rich.markup import escape

from local import demo, engine, postman, stack
from local.bridge import container_hosts
from local.console import console, step
from local.lock import exclusive
from local.tokens import Tokens
from order_capture_ops import cli
from order_capture_ops.errors import CommandError
from order_capture_ops.stack import DESCRIPTION

_LOG = engine.ROOT / ".local/deploy.log"


def main(arguments: list[str] | None = None) -> int:
    """Run all steps; the API keeps running afterwards."""
    parser = cli.Parser(prog="make run", example=f"make run PORT={engine.DEFAULT_PORT + 1}")
    parser.add_argument("--port", type=cli.port, help=f"port of the engine (default: {engine.DEFAULT_PORT})")
    parser.add_argument("--fresh", action="store_true", help="delete the local stack's data first")
    options = parser.parse_args(arguments)
    port: int | None = options.port
    try:
        with exclusive("run", wait=False):
            if options.fresh:
                _delete_data()
            running = _engine(port)
            description = _deployed(running)
        _print_console(description, "\nThe console, which shows the next steps live:")
        demo.run(description["apiUrl"], description["socketUrl"], Tokens(description).of_service())
        _print_console(description, "\nThe console:")
        console.print("The documentation:", description["docsUrl"], soft_wrap=True)
        if url := description.get("apiDocsUrl"):
            console.print("The API page, signed in, to send requests from:")
            console.print(f"  {url}", markup=False, soft_wrap=True)
    except CommandError as error:
        console.print("\n[red]Error:[/]", escape(str(error)), soft_wrap=True)
        return 1
    except (BotoCoreError, ClientError) as error:
        console.print("\n[red]The engine does not respond:[/]", escape(str(error)), soft_wrap=True)
        return 1
    except httpx.HTTPError as error:
        console.print(
            "\n[red]The API does not respond:[/]",
            escape(str(error)),
            "(`make logs` shows the functions' logs)",
        )
        return 1
    except KeyboardInterrupt:
        console.print("\nInterrupted. `make run` continues from here, `make stop` stops the engine.")
        return 130
    return 0


def _print_console(description: dict[str, str], text: str) -> None:
    """Print the sign-in address, alone on its line for copying."""
    if url := description.get("consoleUrl"):
        console.print(text)
        console.print(f"  {url}", markup=False, soft_wrap=True)


def _delete_data() -> None:
    with step("Deleting the local stack's data"):
        if running := engine.find():
            running.kill()
            running.stop()
        engine.delete_data()
        DESCRIPTION.unlink(missing_ok=True)


def _engine(port: int | None) -> engine.Engine:
    """The running engine if it is usable; otherwise a new one with the same data."""
    running = engine.find()
    if running is not None:
        reason = _unfit(running, port)
        if reason is None:
            return _with_whole_stack(running)
        if port not in (None, running.port):
            engine.require_free(port)  # otherwise the old one would be stopped without a new one
        with step(f"Stopping the engine on port {running.port}: {reason}"):
            running.stop()
        port = port or running.port
    note = engine.recovered()
    port = port or engine.DEFAULT_PORT
    with step(f"Starting the engine on port {port}"):
        started = engine.start(port, other_hosts=container_hosts())
    if note:
        console.print(f"  {note}")
    return _with_whole_stack(started)


def _unfit(running: engine.Engine, port: int | None) -> str | None:
    if port is not None and port != running.port:
        return f"port {port} is requested"
    if not running.is_ready():
        return "it does not respond"
    if running.is_outdated():
        return "it has been updated"
    return None


_DEPLOYMENT_SECONDS = 120  # it takes ten


def _with_whole_stack(running: engine.Engine) -> engine.Engine:
    """The engine, once its stack can be updated: another deployment may be in progress, or have failed."""
    status = stack.status(running)
    if status and status.endswith("_IN_PROGRESS") and status != "REVIEW_IN_PROGRESS":
        with step("Waiting for an interrupted deployment"):
            deadline = time.monotonic() + _DEPLOYMENT_SECONDS
            while status and status.endswith("_IN_PROGRESS"):
                if time.monotonic() > deadline:
                    raise engine.EngineError(
                        f"The stack stays in {status}. `make run FRESH=1` deletes it, with all its data."
                    )
                time.sleep(0.5)
                status = stack.status(running)
    if status in (None, "REVIEW_IN_PROGRESS") or status.endswith(("CREATE_COMPLETE", "UPDATE_COMPLETE")):
        return running
    if status.startswith("UPDATE"):
        if status != "UPDATE_ROLLBACK_COMPLETE":  # a stack in this state can be updated
            raise engine.EngineError(
                f"The stack was left in {status}. `make run FRESH=1` deletes it, with all its data."
            )
        return running
    # It was never complete, so it has no data.
    with step(f"Starting over: the stack was left in {status}"):
        running.kill()
        running.stop()
        engine.delete_data()
        return engine.start(running.port, other_hosts=container_hosts())


def _deployed(running: engine.Engine) -> dict[str, str]:
    with step("Building and deploying the stack with sam"):
        description = stack.deploy(running, _LOG)
    stack.write(description)
    postman.write(description)
    return description


if __name__ == "__main__":
    sys.exit(main())
