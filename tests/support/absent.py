"""What a suite does if a required tool is missing."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def absent(what: str) -> NoReturn:
    """Skip with a clear message; if everything must be installed (CI), fail."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)
