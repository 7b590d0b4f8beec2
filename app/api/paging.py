"""Paged lists: `{"items": […], "next_cursor": …}` with an opaque cursor."""

import base64
import binascii
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Generic, TypeVar

from fastapi import Query
from pydantic import Field

from app.admin.events.search import START, SearchPosition
from app.admin.inputs import DIGITS
from app.admin.refusals import ErrorCode, FieldProblem, Refusal
from app.api.http.response_body import ResponseBody
from app.domain.ids import BatchId

Item = TypeVar("Item")

PAGE, MOST = 50, 200  # default and maximum number of items
Limit = Annotated[int, DIGITS, Query(ge=1, le=MOST, description="The maximum number of items of a page.")]
Cursor = Annotated[str | None, Query(max_length=200, description="`next_cursor` of the previous page.")]


class Page(ResponseBody, Generic[Item]):
    """A page of a list. Each list has its own subclass, so that the subclass gives its name to the schema."""

    items: list[Item]
    next_cursor: str | None = Field(
        description="Send it as `cursor` for the next page. Null on the last page."
    )


def cursor_of(*parts: object) -> str:
    """Return an opaque cursor that contains these parts. No part may contain a space."""
    return base64.urlsafe_b64encode(" ".join(map(str, parts)).encode()).decode().rstrip("=")


def place_of(cursor: str | None) -> list[str] | None:
    """Return the parts of a cursor, or None for the first page. Raises Refusal for an invalid cursor."""
    if cursor is None:
        return None
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii").split(" ")
    except (binascii.Error, ValueError):
        raise bad_cursor() from None


def time_and_id_of(cursor: str | None) -> tuple[datetime, str] | None:
    """Return the time and the id in a cursor, or None for the first page. Raises Refusal."""
    match place_of(cursor):
        case None:
            return None
        case [time, id_]:
            try:
                instant = datetime.fromisoformat(time)
            except ValueError:
                raise bad_cursor() from None
            if instant.tzinfo is None or not 2000 <= instant.year <= 9998 or "\0" in id_:
                raise bad_cursor()
            return instant, id_
        case _:
            raise bad_cursor()


def number_of(cursor: str | None) -> int | None:
    """Return the number in a cursor, or None for the first page. Raises Refusal for an invalid cursor."""
    match place_of(cursor):
        case None:
            return None
        case [number] if number.isascii() and number.isdigit() and len(number) < 10:
            return int(number)
        case _:
            raise bad_cursor()


def record_id_of(cursor: str | None) -> int | None:
    """Return the id of a record in a cursor, or None for the first page. Raises Refusal."""
    match place_of(cursor):
        case None:
            return None
        case [number] if number.isascii() and number.isdigit() and len(number) < 19:
            return int(number)
        case _:
            raise bad_cursor()


def event_place_of(cursor: str | None) -> tuple[BatchId, int] | None:
    """Return the batch and position in an event cursor, or None for the first page. Raises Refusal."""
    match place_of(cursor):
        case None:
            return None
        case [batch, place] if batch.isdigit() and place.isdigit() and len(batch) < 19 and len(place) < 5:
            return BatchId(int(batch)), int(place)
        case _:
            raise bad_cursor()


def search_position_of(cursor: str | None) -> SearchPosition:
    """Return the position in a cursor of an event search; the start for the first page. Raises Refusal."""
    match place_of(cursor):
        case None:
            return START
        case [_, _, _] as parts if all(part.isdigit() and len(part) < 20 for part in parts):
            batch, place, rejection = map(int, parts)
            if max(batch, rejection) < 2**63 and place < 2**15:
                return SearchPosition(BatchId(batch), place, rejection)
    raise bad_cursor()


def bad_cursor() -> Refusal:
    """Return the refusal for an invalid cursor."""
    return Refusal(
        ErrorCode.INVALID, "Use next_cursor as in the previous page.", FieldProblem("cursor", "invalid")
    )


def split_page(
    found: Sequence[Item], limit: int, place: Callable[[Item], tuple[object, ...]]
) -> tuple[Sequence[Item], str | None]:
    """Return up to `limit` items and the cursor of the next page. `place` returns the parts of an item's
    cursor.

    The caller queries `limit + 1` items. If the additional item is missing, there is no next page.
    """
    items = found[:limit]
    return items, cursor_of(*place(items[-1])) if len(found) > limit else None


def slice_page(items: Sequence[Item], limit: int, cursor: str | None) -> tuple[list[Item], str | None]:
    """Return a page of a list in memory, and the cursor of the next page.

    The cursor is the index of the next item.
    """
    begin = number_of(cursor) or 0
    end = begin + limit
    return list(items[begin:end]), cursor_of(end) if end < len(items) else None
