"""Identify the cause of a permanent failure more exactly than its reason: by Amazon's code and message."""

import hashlib
import re
from typing import Final

# Amazon's message names the position of an event in the request, which differs between equal failures.
# Postgres must read the pattern in the same way, because `app/store/events/failures.py` groups by it.
POSITION_IN_REQUEST: Final = r"events\[[0-9]+\][.:]? *"


def failure_cause(code: str | None, message: str | None) -> str:
    """Return a short digest of a cause, so that a link can name it. Equal causes have the same digest."""
    text = re.sub(POSITION_IN_REQUEST, "", message or "")
    return hashlib.md5(f"{code or ''}\n{text}".encode(), usedforsecurity=False).hexdigest()[:12]


NO_ANSWER: Final = failure_cause(None, None)
"""The digest for events without a message from Amazon, such as expired events."""
