"""Codes of the public API and of stored rows, each with its sentence."""

from enum import StrEnum
from typing import Self


class SentenceCode(StrEnum):
    """An enumeration whose members are written as a code and a sentence. The code is the value."""

    _value_: str
    sentence: str

    def __new__(cls, code: str, sentence: str) -> Self:
        """Return a member whose value is the code."""
        member = str.__new__(cls, code)
        member._value_, member.sentence = code, sentence
        return member
