"""The exception of a command that fails."""


class CommandFailed(Exception):
    """Ends a command with exit code 1 and prints the text to the terminal."""
