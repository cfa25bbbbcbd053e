"""`make schemas`: write schemas/ and asyncapi.yaml, unless that breaks existing writers or readers."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from contracts import codegen
from contracts.http_baseline import ROOT
from contracts.registry import Message
from contracts.schemas import NotComparableError


def main(messages: Sequence[Message] = codegen.ALL, root: Path = ROOT) -> int:
    """Write what has changed, and print it."""
    argparse.ArgumentParser(prog="make schemas", description=__doc__).parse_args()
    try:
        broken = codegen.breaking(messages, root)
    except NotComparableError as error:
        print(f"{error}\nExtend contracts/schemas.py to compare it, or express it otherwise.")
        return 1
    if broken:
        print("\n".join(broken))
        print(
            "\nThis breaks writers or readers of these messages: leave the version as it is, and add a\n"
            "new one to contracts/registry.py. (A version that is not published yet, or of which no message\n"
            "can be left anywhere, is withdrawn by removing its files.)"
        )
        return 1
    print("\n".join(codegen.write(messages, root)) or "Nothing has changed.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
