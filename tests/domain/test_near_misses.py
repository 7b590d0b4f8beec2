"""Near misses of event names are reported with the name they miss."""

from app.domain.mapping.event_name import near_miss
from tests.tables import cases


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
        "a plural": ("Added to carts", "Added to cart", "one_letter"),
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
