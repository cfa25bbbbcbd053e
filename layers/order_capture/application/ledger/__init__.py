"""The ledgers of holds: an order's amounts held and released, balances set, their history and states."""
