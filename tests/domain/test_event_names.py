"""Event names: new ones have only characters that people type, and a near miss is reported with its name."""

from app.domain.mapping.event_name import event_name_problem, near_miss, unintended_name_problem
from tests.tables import cases


@cases(
    ("name", "is_intended"),
    {
        "a broken encoding": ("a\ufffdb", False),
        "a no-break space": ("Added\u00a0to cart", False),
        "a Cyrillic letter among Latin ones": ("\u0421art", False),
        "a Greek letter among Latin ones": ("C\u03bfrt", False),
        "an Armenian letter among Latin ones": ("\u0555rder", False),
        "a ligature": ("\ufb01ne", False),
        "a full-width letter": ("\uff21dded", False),
        "words of two alphabets": ("\u041a\u043e\u0440\u0437\u0438\u043d\u0430 Amazon", True),
        "a Greek letter that is a word": ("\u03b2-Test", True),
        "an ordinal": ("1\u00aa compra", True),
        "Turkish": ("Al\u0131\u015fveri\u015f", True),
        "German": ("Gr\u00f6\u00dfe", True),
        "the space of a Japanese keyboard": ("\u30ab\u30fc\u30c8\u3000\u8ffd\u52a0", True),
        "a trade mark": ("Prime\u2122 sign-up", True),
    },
)
def test_a_name_that_its_author_cannot_have_meant(name: str, is_intended: bool) -> None:
    """All of these are valid: a name that is pinned stays usable."""
    assert event_name_problem(name) is None
    assert (unintended_name_problem(name) is None) is is_intended


@cases(
    ("name", "other", "near"),
    {
        "the same is no miss": ("Added to cart", "Added to cart", None),
        "capital letters": ("added to Cart", "Added to cart", "case"),
        "a space too many": ("Added  to cart", "Added to cart", "spaces"),
        "other separators": ("added_to-cart", "Added to cart", "spaces"),
        "none at all": ("AddedToCart", "Added to cart", "spaces"),
        "a letter missing": ("Aded to cart", "Added to cart", "one_letter"),
        "a letter too many": ("Addded to cart", "Added to cart", "one_letter"),
        "a wrong letter": ("Adced to cart", "Added to cart", "one_letter"),
        "two letters swapped": ("Added to crat", "Added to cart", "one_letter"),
        "another composition": ("Caf\u00e9", "Cafe\u0301", "unicode"),
        "a full-width letter": ("\uff21dded to cart", "Added to cart", "unicode"),
        "another name": ("Checkout", "Added to cart", None),
        "two letters apart": ("Add to cart", "Added to cart", None),
        "too short to tell": ("A", "B", None),
    },
)
def test_near_misses(name: str, other: str, near: str | None) -> None:
    """In both directions alike."""
    assert near_miss(name, other) == near
    assert near_miss(other, name) == near
