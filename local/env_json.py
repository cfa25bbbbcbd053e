"""`make env.json`: the functions' deployed variables, for `sam local invoke --env-vars env.json`.

`sam local` resolves tables, queues and topics to their logical ids, and passes only the variables that the
template has for a function. So each function's variables are read from the deployed function.
"""

import re
import sys
from typing import Any

from local.bridge import DESKTOP_HOST, bridge_address
from local.engine import ROOT, write_private
from order_capture_ops.cli import Parser, console, run
from order_capture_ops.stack import Stack, find

FILE = ROOT / "env.json"
_ENGINE = re.compile(r"http://(127\.0\.0\.1|localhost):[0-9]+(?=/)")  # in queue URLs


def variables(deployed: Stack, host: str = "") -> dict[str, dict[str, str]]:
    """Each function's variables, by its name in the template.

    Args:
        deployed: the stack.
        host: this machine's name in containers, for a stack on the local engine.
    """
    client = deployed.client("lambda")
    found = {}
    for output, name in sorted(deployed.outputs.items()):
        if output.endswith("FunctionName"):
            settings: dict[str, Any] = client.get_function_configuration(FunctionName=name)
            values = dict(settings.get("Environment", {}).get("Variables", {}))
            if host:
                there = f"http://{host}:{client.meta.endpoint_url.rpartition(':')[2]}"
                values = {key: _ENGINE.sub(there, value) for key, value in values.items()}
                values["AWS_ENDPOINT_URL"] = there
            found[output.removesuffix("Name")] = values
    return found


def main(arguments: list[str] | None = None) -> int:
    """`make env.json`."""
    parser = Parser(
        prog="make env.json",
        description="Writes env.json for sam local, with the names of a stack's tables, queues and topics.",
        example="make env.json, or make env.json STACK=order-capture-dev",
    )
    parser.add_argument("--stack", metavar="NAME", help="a stack on AWS (default: the local engine's)")
    options = parser.parse_args(arguments)
    return run(lambda: _write(options.stack))


def _write(stack: str | None) -> int:
    deployed = find(stack)
    address = bridge_address()
    # Readable by its owner only, since variables may be secrets.
    write_private(FILE, variables(deployed, "" if deployed.on_aws else address or DESKTOP_HOST))
    console.print(f"{FILE.name} has the functions' variables of {deployed.name}.")
    if not deployed.on_aws:
        if address:
            console.print("The engine listens on the loopback interface only: keep `make bridge` running.")
        console.print('Its credentials: eval "$(make -s env)"')
    return 0


if __name__ == "__main__":
    sys.exit(main())
