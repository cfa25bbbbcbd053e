"""Errors shown to the user. Separate from `cli`, whose imports are slow."""


class CommandError(Exception):
    """A command can't do what was requested; the message is shown to the user."""


class UsageError(CommandError):
    """An argument is not allowed."""
