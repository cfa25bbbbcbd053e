"""The business, pure: no AWS, no environment, no clock and no randomness except as an argument."""
