"""The name under which the audit records a command: the operating system account."""

import getpass


def actor() -> str:
    """Return `cli:ACCOUNT`, or `cli` when the account is unknown."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):
        return "cli"
