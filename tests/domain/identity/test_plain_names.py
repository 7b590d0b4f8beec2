"""The quick look at a plain name says what the whole rule says."""

from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.identity.placeholders import NOTHING_WORDS
from app.domain.identity.profiles import _amazon_name, _careful_name

NAMES = (
    st.sampled_from(sorted(NOTHING_WORDS))
    | st.text(alphabet="abcXYZ09-é ", max_size=40)
    | st.text(alphabet="abcdef", min_size=30, max_size=42)
    | st.text(max_size=40)
)


@settings(max_examples=1000)
@given(NAMES)
def test_a_plain_name_is_read_as_any_other(name: str) -> None:
    """Placeholders, digests of other kinds and letters of any script included."""
    assert _amazon_name(name, "US") == _careful_name(name, "US")
