"""The cause of a permanent failure, in addition to its reason: Amazon's code and message. Pure."""

import hashlib
import re
from typing import Final

# Amazon names the position of an event in its request; it differs between equal failures. The pattern means
# the same to Postgres, which groups by it (`app/store/failures.py`).
POSITION_IN_REQUEST: Final = r"events\[[0-9]+\][.:]? *"


def failure_cause(code: str | None, message: str | None) -> str:
    """Return a short digest that is equal for equal causes, so that a link can name one."""
    text = re.sub(POSITION_IN_REQUEST, "", message or "")
    return hashlib.md5(f"{code or ''}\n{text}".encode(), usedforsecurity=False).hexdigest()[:12]


NO_ANSWER: Final = failure_cause(None, None)
"""The cause of events without an answer of Amazon, such as expired ones."""
