"""smoke_test: calls a function's new version before it gets traffic, and has a faulty one rolled back."""

from __future__ import annotations

from order_capture.entrypoints.releases import smoke_test_handler

handler = smoke_test_handler()
