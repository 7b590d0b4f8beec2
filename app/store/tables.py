"""The tables of the configuration: statements, and the check of the migrations, follow from one declaration.

A table has a column for each field of its row type. `tests/store/test_configuration.py` compares the tables
with the schema that the migrations make.
"""

from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, get_args, get_origin, get_type_hints

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, DOMAIN, Insert, insert

METADATA: Final = sa.MetaData()


class _Instant(DOMAIN):
    operator_classes = sa.DateTime.operator_classes


INSTANT: Final = _Instant("instant", sa.DateTime(timezone=True), create_type=False)
_TYPES: Final[dict[Any, sa.types.TypeEngine[Any]]] = {
    str: sa.Text(),
    int: sa.Integer(),
    float: sa.Double(),
    bool: sa.Boolean(),
    datetime: INSTANT,
    bytes: sa.LargeBinary(),
    tuple: ARRAY(sa.Text()),
}


def table(name: str, row: type, *more: sa.Column[Any], without: tuple[str, ...] = ()) -> sa.Table:
    """Return a table with a column for each field of `row`, except for those of `without`.

    `more` are columns without a field, and columns whose type does not follow from their field. Unless it is
    in `without`, the column of the organisation is added.
    """
    organisation = sa.Column("organisation_id", sa.Text, key="organisation", nullable=False)
    columns = {column.key: column for column in (*_columns(row), organisation, *more)}
    return sa.Table(name, METADATA, *(column for key, column in columns.items() if key not in without))


def _columns(row: type) -> Iterator[sa.Column[Any]]:
    hints = get_type_hints(row)
    for each in fields(row):
        hint = hints[each.name]
        members = [member for member in get_args(hint) if member is not type(None)]
        is_nullable = type(None) in get_args(hint)
        kind = members[0] if is_nullable else hint
        kind = getattr(kind, "__supertype__", kind)
        if is_dataclass(kind) and isinstance(kind, type):
            yield from _columns(kind)
        elif isinstance(kind, type) and issubclass(kind, StrEnum):
            yield sa.Column(each.name, sa.Text(), nullable=is_nullable)
        else:
            yield sa.Column(each.name, _TYPES.get(get_origin(kind) or kind), nullable=is_nullable)


def columns_of(table_: sa.Table, row: type) -> list[sa.ColumnElement[Any]]:
    """Return the columns of a table that a row type has, named as its fields."""
    names = {column.name for column in _columns(row)}
    return [
        column if column.name == column.key else column.label(column.key)
        for column in table_.c
        if column.key in names
    ]


def flat(row: Any) -> dict[str, Any]:
    """Return the fields of a row by column; the fields of a nested row are columns too."""
    values: dict[str, Any] = {}
    for each in fields(row):
        value = getattr(row, each.name)
        values |= flat(value) if is_dataclass(value) else {each.name: value}
    return values


def own(table_: sa.Table) -> sa.ColumnElement[bool]:
    """Return the condition that a row belongs to the organisation that the transaction acts for."""
    return table_.c.organisation == sa.func.acting_organisation()


def select_own(
    table_: sa.Table, columns: Iterable[sa.ColumnElement[Any]], *conditions: sa.ColumnElement[bool]
) -> sa.Select[Any]:
    """Return the statement that reads those of the organisation's rows that fulfil the conditions."""
    return sa.select(*columns).where(own(table_), *conditions)


def paged(
    statement: sa.Select[Any], order: Iterable[sa.Column[Any]], after: tuple[Any, ...] | None, limit: int
) -> sa.Select[Any]:
    """Return the statement that reads up to `limit` rows in this order, after the row with these values."""
    later = [] if after is None else [sa.tuple_(*order) > after]
    return statement.where(*later).order_by(*order).limit(limit)


def insert_own(table_: sa.Table, **values: object) -> Insert:
    """Return the statement that writes a row of the organisation that the transaction acts for."""
    return insert(table_).values(organisation=sa.func.acting_organisation(), **values)


def update_own(table_: sa.Table, *conditions: sa.ColumnElement[bool], **values: object) -> sa.Update:
    """Return the statement that changes those of the organisation's rows that fulfil the conditions."""
    return sa.update(table_).where(own(table_), *conditions).values(**values)
