"""The customer's credit as another service's answer: to compare what happens while it is slow or away.

By default there is no such service: the account is a row of this application's own database, checked in the
order's transaction. With `CREDIT_DELAY_MS` each order first asks a service that takes so long, as a good
engineer would have it ask: before the transaction, so that no lock is held meanwhile. It has a timeout, and a
circuit breaker, so that clients are answered at once while the service is away.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from order_capture.domain.errors import TransientError

TIMEOUT_SECONDS = 3.0
"""Above what the service takes when it is slow (2 s in the comparison), below what clients wait."""
MAX_FAILURES = 5
"""In a row; then the circuit is open."""
OPEN_SECONDS = 5.0
"""How long nobody asks. Then one order does, and the others go on being refused until it has an answer."""


class CreditService:
    """Ask whether customers are good for an order.

    Args:
        ask: asks the service; it raises OSError if that can't be reached.
        timeout: seconds after which its answer is not waited for.
        clock: seconds, from any beginning.
    """

    def __init__(
        self,
        ask: Callable[[], Awaitable[None]],
        timeout: float = TIMEOUT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask, self._timeout, self._clock = ask, timeout, clock
        self._failures, self._open_until = 0, 0.0

    async def check(self) -> None:
        """Wait for the service's answer.

        Raises:
            TransientError: it gave none in time, or lately gave none to several orders in a row.
        """
        if self._failures >= MAX_FAILURES:
            if self._clock() < self._open_until:
                raise TransientError("Credit can't be checked right now. Send the same request again.")
            self._open_until = self._clock() + OPEN_SECONDS
        try:
            async with asyncio.timeout(self._timeout):
                await self._ask()
        except (OSError, TimeoutError) as error:
            self._failures += 1
            self._open_until = self._clock() + OPEN_SECONDS
            raise TransientError("Credit can't be checked right now. Send the same request again.") from error
        self._failures = 0


def delayed(milliseconds: int) -> CreditService:
    """A service that answers after so long; with more than `TIMEOUT_SECONDS` it is as good as away."""
    return CreditService(lambda: asyncio.sleep(milliseconds / 1000))
