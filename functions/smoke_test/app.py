"""smoke_test: calls the new version of a function before anybody else does, and has a bad one rolled back."""

from __future__ import annotations

from order_capture.entrypoints.releases import smoke_test_handler

handler = smoke_test_handler()
