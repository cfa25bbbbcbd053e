"""The Postman environment of the local stack, ready to import; written by `make run`.

`make postman-run` runs the collection, with newman.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from local.engine import ROOT, write_private
from local.tokens import describe
from order_capture_ops.cli import Parser, run
from order_capture_ops.stack import find

ENVIRONMENT = ROOT / ".local/postman_environment.json"
COLLECTION = ROOT / "postman/order-capture.postman_collection.json"
_BLANK = ROOT / "postman/local.postman_environment.json"
# The key of each variable in the stack's description (.local/stack.json).
_NAMES = {
    "baseUrl": "apiUrl",
    "tokenUrl": "tokenUrl",
    "clientId": "ServiceClientId",
    "clientSecret": "serviceClientSecret",
}


def write(description: Mapping[str, str], to: Path = ENVIRONMENT) -> None:
    """Write the environment of a stack atomically, readable by its owner only, since it has a secret."""
    environment = json.loads(_BLANK.read_text())
    for variable in environment["values"]:
        variable["value"] = description[_NAMES[variable["key"]]]
    write_private(to, environment)


def main(arguments: list[str] | None = None) -> int:
    """`make postman-run`."""
    parser = Parser(
        prog="make postman-run",
        description="Runs the Postman collection with newman, which fails if a test of a response does.",
        example="make postman-run STACK=order-capture-dev",
    )
    parser.add_argument("--stack", metavar="NAME", help="a stack on AWS (default: the local engine's)")
    options = parser.parse_args(arguments)
    return run(lambda: _run_collection(options.stack))


def _run_collection(stack: str | None) -> int:
    description = describe(find(stack))
    with tempfile.TemporaryDirectory() as folder:
        environment = Path(folder) / "environment.json"  # it has a secret, and is deleted with the folder
        write(description, environment)
        newman = (ROOT / ".local/bin/node", ROOT / "node_modules/newman/bin/newman.js", "run", COLLECTION)
        bypass = {"NO_PROXY": ",".join(filter(None, [os.environ.get("NO_PROXY"), "127.0.0.1"]))}
        ran = subprocess.run(
            [*newman, "--environment", environment, "--reporter-cli-no-success-assertions"],
            env=os.environ | bypass,
            check=False,
        )
    return ran.returncode


if __name__ == "__main__":
    sys.exit(main())
