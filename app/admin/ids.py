"""Ids of resources, such as `dst_…`: generate them, and check their form before a look-up."""

import re
import secrets

from app.admin.refusals import ErrorCode, Refusal

_SUFFIX = re.compile(r"[0-9a-z]{16,32}", re.ASCII)
_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"


def new_id(prefix: str) -> str:
    """Return `prefix` and 20 random letters and digits (103 bits)."""
    return prefix + "".join(secrets.choice(_ALPHABET) for _ in range(20))


def require_id(prefix: str, text: str) -> None:
    """Raise Refusal (not found) unless the text has the form of an id with this prefix."""
    if not (text.startswith(prefix) and _SUFFIX.fullmatch(text, len(prefix))):
        raise Refusal(ErrorCode.NOT_FOUND)
