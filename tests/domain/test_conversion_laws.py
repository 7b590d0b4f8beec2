"""Laws of the conversion: any mapping converts any event to a valid conversion or to a known rejection.

`random_pairs.py` has the laws, and runs them on a million pairs.
"""

import pytest

from app.domain.conversion.convert import Conversion
from tests.domain.random_pairs import broken_laws, random_pairs


@pytest.mark.campaign
@pytest.mark.parametrize("seed", [1, 2])
def test_random_pairs_break_no_law(seed: int) -> None:
    """Enough of them are accepted and rejected for the laws to say something."""
    accepted = 0
    for pair in random_pairs(2_500, seed):
        outcome, _, broken = broken_laws(pair, previewed=True)
        assert broken == [], (pair.document, pair.content)
        accepted += isinstance(outcome, Conversion)
    assert 250 < accepted < 2_250, accepted
