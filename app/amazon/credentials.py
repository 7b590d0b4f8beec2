"""The required syntax of Amazon's tokens, checked before they are stored or sent in a header."""

import re
from typing import TypeGuard

# Printable ASCII without spaces, which cannot end a header line; at most 2,048 bytes (contract §5).
_TOKEN = re.compile(r"[!-~]{1,2048}", re.ASCII)


def usable_token(token: object) -> TypeGuard[str]:
    """Return whether a token may be stored and sent in a header (contract §5)."""
    return isinstance(token, str) and _TOKEN.fullmatch(token) is not None
