"""Ids of destinations, mappings and keys: new ones, and a check of their form before any look-up."""

import re
import secrets

from app.admin.refusals import ErrorCode, Refusal

_DESTINATION = re.compile(r"dst_[0-9a-z]{16,32}", re.ASCII)
_MAPPING = re.compile(r"map_[0-9a-z]{16,32}", re.ASCII)
_KEY = re.compile(r"key_[0-9a-z]{16,32}", re.ASCII)

_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"


def new_id(prefix: str) -> str:
    """Return `prefix` and 20 random letters and digits: 103 bits, not to be guessed."""
    return prefix + "".join(secrets.choice(_ALPHABET) for _ in range(20))


def _require(form: re.Pattern[str], text: str) -> None:
    if not form.fullmatch(text):
        raise Refusal(ErrorCode.NOT_FOUND)


def require_destination_id(text: str) -> None:
    """Refuse with 404 what is no destination id."""
    _require(_DESTINATION, text)


def require_mapping_id(text: str) -> None:
    """Refuse with 404 what is no mapping id."""
    _require(_MAPPING, text)


def require_key_id(text: str) -> None:
    """Refuse with 404 what is no key id."""
    _require(_KEY, text)
