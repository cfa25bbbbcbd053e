"""The Postman environment of the local stack, ready to import; written by `make run`."""

import json
from collections.abc import Mapping
from pathlib import Path

from local.engine import ROOT, write_private

ENVIRONMENT = ROOT / ".local/postman_environment.json"
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
