"""The exception of a command that fails."""


class CommandFailed(Exception):
    """The command fails. The text is printed to standard error; the exit code is 1."""
