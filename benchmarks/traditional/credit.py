"""An external credit service, to compare what happens while it is slow or down.

By default there is no such service: the account is a row of this application's own database, checked in the
order's transaction. With `CREDIT_DELAY_MS` each order first calls a service that takes this long. The call is
made as a good engineer would: before the transaction, so that no lock is held meanwhile, and with a timeout.
A circuit breaker gives clients a response at once while the service is down.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from order_capture.domain.errors import TransientError

TIMEOUT_SECONDS = 3.0
"""Longer than the slow service takes (2 s in the comparison), shorter than clients wait."""
MAX_FAILURES = 5
"""Failures in a row that open the circuit."""
OPEN_SECONDS = 5.0
"""How long no call is made. Then one order calls; others are refused until it gets a response."""


class CreditService:
    """Checks whether customers have credit for an order.

    Args:
        ask: calls the service; raises OSError if it can't be reached.
        timeout: seconds to wait for a response.
        clock: monotonic seconds.
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
        """Wait for the service's response.

        Raises:
            TransientError: it did not respond in time, or the circuit is open after failures in a row.
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
    """A service with a fixed delay; beyond `TIMEOUT_SECONDS` it is effectively down."""
    return CreditService(lambda: asyncio.sleep(milliseconds / 1000))
