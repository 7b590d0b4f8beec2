"""Rows as frozen values: the only way from a row to a type with a member for each column."""

from collections.abc import Iterable
from typing import Any, Final, Protocol, TypeVar

import msgspec

T = TypeVar("T")

MAX_BIGINT: Final = 2**63 - 1  # not below any id: the start of a first page


class Row(Protocol):
    """A row of either driver."""

    def keys(self) -> Iterable[Any]:
        """Return the names of its columns."""
        ...

    def __getitem__(self, name: Any, /) -> Any: ...


def read_row(type_: type[T], row: Row, **more: object) -> T:
    """Return a value of this type.

    Texts become enums, and lists become tuples. `more` holds the members without a column.
    Columns without a member are left out.
    """
    return msgspec.convert({**row, **more}, type_)
