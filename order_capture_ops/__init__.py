"""Operators' tools, the same on AWS and on the local engine: audit, redrive, stuck, watch, reports."""

import sys
from pathlib import Path

# The functions' own package, whose domain the tools share, is a Lambda layer and not installed anywhere.
sys.path.append(str(Path(__file__).resolve().parent.parent / "layers"))
