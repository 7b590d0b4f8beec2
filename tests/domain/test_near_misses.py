"""Near misses of event names are reported with the name they miss."""

import pytest

from app.domain.mapping.event_name import near_miss


@pytest.mark.parametrize(
    ("name", "other", "near"),
    [
        pytest.param("Added to cart", "Added to cart", None, id="the same is no miss"),
        pytest.param("added to Cart", "Added to cart", "case", id="capital letters"),
        pytest.param("Added  to cart", "Added to cart", "spaces", id="a space too many"),
        pytest.param("added_to-cart", "Added to cart", "spaces", id="other separators"),
        pytest.param("AddedToCart", "Added to cart", "spaces", id="none at all"),
        pytest.param("Aded to cart", "Added to cart", "one_letter", id="a letter missing"),
        pytest.param("Addded to cart", "Added to cart", "one_letter", id="a letter too many"),
        pytest.param("Adced to cart", "Added to cart", "one_letter", id="a wrong letter"),
        pytest.param("Added to crat", "Added to cart", "one_letter", id="two letters swapped"),
        pytest.param("Added to carts", "Added to cart", "one_letter", id="a plural"),
        pytest.param("Caf\u00e9", "Cafe\u0301", "unicode", id="another composition"),
        pytest.param("\uff21dded to cart", "Added to cart", "unicode", id="a full-width letter"),
        pytest.param("Checkout", "Added to cart", None, id="another name"),
        pytest.param("Add to cart", "Added to cart", None, id="two letters apart"),
        pytest.param("A", "B", None, id="too short to tell"),
    ],
)
def test_near_misses(name: str, other: str, near: str | None) -> None:
    """In both directions alike."""
    assert near_miss(name, other) == near
    assert near_miss(other, name) == near
