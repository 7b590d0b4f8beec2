"""Who acts at a command line, for the audit: the account of the machine that the command ran under."""

import getpass


def actor() -> str:
    """Return `cli:ACCOUNT`."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):
        return "cli"
