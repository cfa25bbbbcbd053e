"""What a command cannot do, in words. Apart from `cli`, so that whoever raises it imports nothing more."""


class CommandError(Exception):
    """A command cannot do what it is asked to; the text is for the person at the keyboard."""


class UsageError(CommandError):
    """An argument is not allowed."""
