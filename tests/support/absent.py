"""What a suite does where the tool that it needs is not there."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def absent(what: str) -> NoReturn:
    """Skip, and say loudly why; where everything has to be there (CI) that is a failure."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)
