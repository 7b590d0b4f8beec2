"""Convert a row of a query to a value of a type that has a field for each column."""

from collections.abc import Iterable
from typing import Any, Final, Protocol, TypeVar

import msgspec

T = TypeVar("T")

MAX_BIGINT: Final = 2**63 - 1  # an id above all others: the start of the first page, newest first


class Row(Protocol):
    """A row of asyncpg or of SQLAlchemy."""

    def keys(self) -> Iterable[Any]: ...

    def __getitem__(self, name: Any, /) -> Any: ...


def read_row(type_: type[T], row: Row, **more: object) -> T:
    """Return a value of this type from the columns of a row and the fields in `more`.

    Texts become enums, and lists become tuples. Columns without a field are left out.
    """
    return msgspec.convert({**row, **more}, type_)
