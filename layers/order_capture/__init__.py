"""Order capture: take orders, hold credit and stock for them, decide, ship. Read `domain` first."""
