"""`make schemas`: write schemas/ and asyncapi.yaml, unless that breaks whoever knows the messages."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from contracts import files
from contracts.http_baseline import ROOT
from contracts.registry import Message
from contracts.schemas import NotComparableError


def main(messages: Sequence[Message] = files.ALL, root: Path = ROOT) -> int:
    """Write what has changed, and say what."""
    argparse.ArgumentParser(prog="make schemas", description=__doc__).parse_args()
    try:
        broken = files.broken(messages, root)
    except NotComparableError as error:
        print(f"{error}\nTeach contracts/schemas.py what of that would break somebody, or say it otherwise.")
        return 1
    if broken:
        print("\n".join(broken))
        print(
            "\nThis breaks whoever writes or reads these messages: leave the version as it is, and add a\n"
            "new one to contracts/registry.py. (A version that nobody has seen yet, or of which no message\n"
            "can be left anywhere, is taken back by removing its files.)"
        )
        return 1
    print("\n".join(files.write(messages, root)) or "Nothing has changed.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
