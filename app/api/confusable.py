"""Names that look alike to a person though they differ to a machine: `Acme` with a Cyrillic А."""

import unicodedata
from collections.abc import Mapping

# Letters of other scripts drawn like a Latin one, from Unicode's confusables (UTS #39), lower-cased.
_DRAWN_LIKE: Mapping[str, str] = {
    **dict(zip("аеорсухіјѕԁһԛԝгьв", "aeopcyxijsdhqwrbb", strict=True)),  # Cyrillic
    **dict(zip("мтнкз", "mthk3", strict=True)),
    **dict(zip("αορνικτυχγε", "aopvikтuxye".replace("т", "t"), strict=True)),  # Greek
    **dict(zip("ոսօցհ", "nuogh", strict=True)),  # Armenian
    **dict(zip("ı|", "il", strict=True)),
    **dict(zip("01", "ol", strict=True)),
}


def skeleton(name: str) -> str:
    """Return what a name looks like: names of one skeleton can be taken for each other."""
    apart = unicodedata.normalize("NFKD", name).casefold()
    shown = (letter for letter in apart if not unicodedata.combining(letter))
    drawn = "".join(_DRAWN_LIKE.get(letter, letter) for letter in shown)
    return " ".join(drawn.replace("l", "i").replace("rn", "m").split())
