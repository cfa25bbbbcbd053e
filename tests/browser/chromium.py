"""This machine's Chromium, with a new process each time."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

REBOUND = "rebound.example"
"""The attacker's hostname, which resolves to this machine."""

MISSING = "Chromium is not installed: apt-get install chromium"

_OPTIONS = (
    "--no-sandbox",  # which needs privileges that a container has not
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    f"--host-resolver-rules=MAP {REBOUND} 127.0.0.1",
)


def program() -> str | None:
    """The path of Chromium; None if it is not installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextmanager
def launched(path: str) -> Iterator[Browser]:
    """A headless Chromium for a block, with a new profile."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_OPTIONS))
        yield browser
        browser.close()
