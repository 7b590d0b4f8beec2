"""Ids of destinations, mappings and keys: generate them, and check their form before a look-up."""

import re
import secrets

from app.admin.refusals import ErrorCode, Refusal

_DESTINATION = re.compile(r"dst_[0-9a-z]{16,32}", re.ASCII)
_MAPPING = re.compile(r"map_[0-9a-z]{16,32}", re.ASCII)
_KEY = re.compile(r"key_[0-9a-z]{16,32}", re.ASCII)

_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"


def new_id(prefix: str) -> str:
    """Return `prefix` and 20 random letters and digits (103 bits)."""
    return prefix + "".join(secrets.choice(_ALPHABET) for _ in range(20))


def _require_form(form: re.Pattern[str], text: str) -> None:
    if not form.fullmatch(text):
        raise Refusal(ErrorCode.NOT_FOUND)


def require_destination_id(text: str) -> None:
    """Raise Refusal (not found) unless the text has the form of a destination id."""
    _require_form(_DESTINATION, text)


def require_mapping_id(text: str) -> None:
    """Raise Refusal (not found) unless the text has the form of a mapping id."""
    _require_form(_MAPPING, text)


def require_key_id(text: str) -> None:
    """Raise Refusal (not found) unless the text has the form of a key id."""
    _require_form(_KEY, text)
