"""Find names that look alike but differ in characters, such as `Acme` with a Cyrillic А."""

import unicodedata
from collections.abc import Mapping

# Lower-case letters of other scripts that look like a Latin letter. Source: Unicode's confusables, UTS #39.
_LOOKS_LIKE: Mapping[str, str] = {
    **dict(zip("аеорсухіјѕԁһԛԝгьв", "aeopcyxijsdhqwrbb", strict=True)),  # Cyrillic
    **dict(zip("мтнкз", "mthk3", strict=True)),
    **dict(zip("αορνικτυχγε", "aopvikтuxye".replace("т", "t"), strict=True)),  # Greek
    **dict(zip("ոսօցհ", "nuogh", strict=True)),  # Armenian
    **dict(zip("ı|", "il", strict=True)),
    **dict(zip("01", "ol", strict=True)),
}


def skeleton(name: str) -> str:
    """Reduce a name to the Latin letters that its letters resemble. Names with equal results look alike."""
    decomposed = unicodedata.normalize("NFKD", name).casefold()
    letters = (letter for letter in decomposed if not unicodedata.combining(letter))
    latin = "".join(_LOOKS_LIKE.get(letter, letter) for letter in letters)
    return " ".join(latin.replace("l", "i").replace("rn", "m").split())
