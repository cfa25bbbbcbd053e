"""How long-running commands report their progress."""

from collections.abc import Callable

ProgressCallback = Callable[[str, int], None]
"""Called with what is being read, and how many were read since the last call."""
