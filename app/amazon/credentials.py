"""What a token of Amazon's may look like before it is trusted near a header or a table."""

import re
from typing import TypeGuard

MAX_TOKEN_BYTES = 2_048  # contract §5

# Printable ASCII without a space: nothing that could end a header line or be trimmed from its edge.
_TOKEN = re.compile(r"[!-~]{1,2048}", re.ASCII)


def usable_token(token: object) -> TypeGuard[str]:
    """Tell whether this is a token that may be stored and placed in a header (contract §5)."""
    return isinstance(token, str) and _TOKEN.fullmatch(token) is not None
