"""What an order costs and a function weighs. Measured and printed, asserted nowhere: machines differ."""
