"""Tables of cases: a row for each, by the name that a failure shows."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest


def cases(names: str | Sequence[str], rows: Mapping[str, Any]) -> pytest.MarkDecorator:
    """Run a test with each row: the value of the parameter, or a tuple with those of all."""
    return pytest.mark.parametrize(names, rows.values(), ids=rows)
