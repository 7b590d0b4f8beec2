"""The names that fields have in events of shops, analytics tools and exports, in several languages.

The names and words are in `words.toml`, which a person can add to without reading code. A name is compared
word by word: `customerEmail`, `customer_email` and `Customer E-Mail` have equal words.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

from app.domain.privacy.normal_forms import stream_safe
from app.domain.toml_files import read_toml

_FILE: Final[Mapping[str, Any]] = read_toml(__file__, "words")


def table(name: str) -> dict[str, tuple[str, ...]]:
    """Return the words of each key of a table, in their order."""
    return {key: _split(words) for key, words in _FILE[name].items()}


def key_by_word(name: str) -> dict[str, str]:
    """Return the key of each word of a table."""
    return {word: key for key, words in table(name).items() for word in words}


def word_list(name: str) -> tuple[str, ...]:
    return _split(_FILE["words"][name])


def _split(words: str | list[str]) -> tuple[str, ...]:
    return tuple(words.split() if isinstance(words, str) else words)


WORDS: Final = {name: frozenset(_split(words)) for name, words in _FILE["words"].items()}
"""The lists of words whose order means nothing."""


_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_WORD: Final = re.compile(r"[^\W\d_]+|\d+")
# The letters of a synonym that may be a part of a longer word, as `betrag` in `rechnungsbetrag`, or its end.
_SHORTEST_PART: Final = 5
_SHORTEST_END: Final = 4


_LETTERS: Final = str.maketrans(
    {"ß": "ss", "ø": "o", "Ø": "O", "æ": "ae", "Æ": "Ae", "ł": "l", "Ł": "L", "đ": "d", "ı": "i"}
)
_ABBREVIATIONS: Final = key_by_word("abbreviations")
_OF_PERSON: Final = frozenset({"name"}).union(
    *(WORDS[words] for words in ("halves", "person", "billing", "shipping"))
)


@lru_cache(maxsize=4096)
def words_of(name: str) -> tuple[str, ...]:
    """Return the words of a name in lower case, without accents and abbreviations.

    `orderTotal2` has order, total and 2, and `ORDER_AMT` has order and amount.
    """
    spelled = name.translate(_LETTERS).replace("# ", "number ").replace(" #", " number")
    decomposed = unicodedata.normalize("NFKD", stream_safe(spelled))
    text = "".join(char for char in decomposed if not unicodedata.combining(char))
    words = _WORD.findall(_CAMEL.sub(" ", text).lower())
    return tuple(_ABBREVIATIONS.get(word, word) for word in words)


def plain(names: Sequence[str]) -> tuple[str, ...]:
    """Leave out names that only say how a value is written, as `$date` of MongoDB and `S` of DynamoDB."""
    meant = (name for name in names if name not in WORDS["wrappers"] and words_of(name))
    return tuple(meant) or tuple(names[-1:])


def words_in(names: Sequence[str]) -> frozenset[str]:
    return frozenset(word for name in names for word in words_of(name))


def joined(name: str) -> str:
    """Return a name without case and separators: `Order Completed` is `ordercompleted`."""
    return "".join(words_of(name))


# For each field its names, the best first.
SYNONYMS: Final = {field: tuple(map(joined, names)) for field, names in table("synonyms").items()}


@lru_cache(maxsize=16384)
def rank(field: str, names: tuple[str, ...]) -> int:
    """Return how well the last of nested names fits a field: 0 if not, 100 if it is the usual name."""
    words = words_of(names[-1]) if names else ()
    own = _rank(field, words)
    if len(names) > 1 and words and words[-1] in WORDS["generic"] and len(words) == 1:
        above = max(_rank(field, words_of(names[-2])), _rank(field, words_of(names[-2]) + words))
        return max(above - 5, own - 40, 0)
    return own


def _rank(field: str, words: tuple[str, ...]) -> int:
    synonyms = SYNONYMS[field]
    joined = "".join(words)
    if joined in synonyms:
        place = synonyms.index(joined)
        return 100 - (min(place, 60) if joined in WORDS["generic"] else 40 * place // len(synonyms))
    plain = "".join(word for word in words if not word.isdigit())
    if plain in synonyms:
        # `email1` is as good as `email`, and `email2` is the second one.
        return (60 if words[-1] in ("1", "01") else 45) - min(synonyms.index(plain) // 2, 20)
    pairs = {*words, *("".join(pair) for pair in pairwise(words))}
    is_person = all(word in _OF_PERSON or word.isdigit() for word in words)
    found = [
        place
        for place, synonym in enumerate(synonyms)
        if synonym in pairs and len(synonym) > 2 and (is_person or synonym not in WORDS["halves"])
    ]
    if found:
        return 50 - min(found[0] // 2, 25)
    # In one word: `channel_name` has no `lname`.
    longer = [synonym for synonym in synonyms if synonym not in WORDS["halves"]]
    is_part = any(len(s) >= _SHORTEST_PART and s in word for s in longer for word in words)
    is_any_text = field in ("first_name", "last_name")
    ends = [s for s in longer if len(s) >= (_SHORTEST_END if is_any_text or s.isascii() else 2)]
    is_end = any(word.endswith(s) for s in ends for word in words[-1:])
    return 20 if is_part or is_end else 0
