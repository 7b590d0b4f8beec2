"""The words of `words.toml`, which a person can add to without reading code."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

_FILE: Final[Mapping[str, Any]] = tomllib.loads(Path(__file__).with_name("words.toml").read_text("utf-8"))


# The tools whose events are recognised by their shape.
SHAPE_ROWS: Final[Sequence[Mapping[str, Any]]] = _FILE["shapes"]


def table(name: str) -> dict[str, tuple[str, ...]]:
    """Return the words of each key of a table, in their order."""
    return {key: _split(words) for key, words in _FILE[name].items()}


def key_by_word(name: str) -> dict[str, str]:
    """Return the key of each word of a table."""
    return {word: key for key, words in table(name).items() for word in words}


def word_list(name: str) -> tuple[str, ...]:
    return _split(_FILE["words"][name])


def word_set(name: str) -> frozenset[str]:
    return frozenset(word_list(name))


def _split(words: str | list[str]) -> tuple[str, ...]:
    return tuple(words.split() if isinstance(words, str) else words)
