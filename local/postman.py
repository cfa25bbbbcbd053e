"""The Postman environment of the local stack, ready to be imported: `make run` writes it."""

import json
from collections.abc import Mapping
from pathlib import Path

from local.engine import ROOT, write_private

ENVIRONMENT = ROOT / ".local/postman_environment.json"
_BLANK = ROOT / "postman/local.postman_environment.json"
# What each of its variables is called where the stack is described (.local/stack.json).
_NAMES = {
    "baseUrl": "apiUrl",
    "tokenUrl": "tokenUrl",
    "clientId": "ServiceClientId",
    "clientSecret": "serviceClientSecret",
}


def write(description: Mapping[str, str], to: Path = ENVIRONMENT) -> None:
    """Write the environment of a stack, whole or not at all, for its owner only: it holds a secret."""
    environment = json.loads(_BLANK.read_text())
    for variable in environment["values"]:
        variable["value"] = description[_NAMES[variable["key"]]]
    write_private(to, environment)
