"""The actor of a command, for the audit: the operating system account."""

import getpass


def actor() -> str:
    """Return `cli:ACCOUNT`, or `cli` when the account is unknown."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):
        return "cli"
