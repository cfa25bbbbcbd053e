"""The ledgers of holds: hold and release the amounts of orders, set balances, read and publish them."""
