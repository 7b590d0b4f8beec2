"""How a command ends when it cannot do its work."""


class CommandFailed(Exception):
    """Ends a command with exit code 1; the text is one sentence for the person at the terminal."""
