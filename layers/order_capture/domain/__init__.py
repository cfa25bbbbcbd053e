"""The business rules, pure: no AWS, no environment, and clock and randomness only as arguments."""
