"""Print the steps of a command, one line each with its duration, on a terminal or in a log."""

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console

console = Console(highlight=False)


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Show a spinner during a step, then its result and duration."""
    started = time.monotonic()
    waiting = console.status(f"{what} …") if console.is_terminal else contextlib.nullcontext()
    try:
        with waiting:
            yield
    except BaseException:
        console.print(f"[red]✗[/] {what}", soft_wrap=True)
        raise
    console.print(f"[green]✓[/] {what} [dim]{time.monotonic() - started:.1f} s[/]", soft_wrap=True)
