"""Ids in paths: one that cannot be ours is not looked for."""

import re

from app.admin.refusals import Refusal, Word

_DESTINATION = re.compile(r"dst_[0-9a-z]{16,32}", re.ASCII)
_MAPPING = re.compile(r"map_[0-9a-z]{16,32}", re.ASCII)
_KEY = re.compile(r"key_[0-9a-z]{16,32}", re.ASCII)


def _require(form: re.Pattern[str], text: str) -> None:
    if not form.fullmatch(text):
        raise Refusal(Word.NOT_FOUND)


def require_destination_id(text: str) -> None:
    """Refuse with 404 what is no destination id."""
    _require(_DESTINATION, text)


def require_mapping_id(text: str) -> None:
    """Refuse with 404 what is no mapping id."""
    _require(_MAPPING, text)


def require_key_id(text: str) -> None:
    """Refuse with 404 what is no key id."""
    _require(_KEY, text)
