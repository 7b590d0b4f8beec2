"""Lists a page at a time: `{"items": […], "next_cursor": …}`, where the cursor means something to us only."""

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Query

from app.admin.refusals import ErrorCode, FieldProblem, Refusal
from app.domain.ids import BatchId

Item = TypeVar("Item")

PAGE, MOST = 50, 200  # items a page holds, left to itself and at most
Limit = Annotated[int, Query(ge=1, le=MOST, description="How many items a page holds at most.")]
Cursor = Annotated[
    str | None, Query(max_length=200, description="`next_cursor` of the page before; left out for the first.")
]


def cursor_of(*parts: object) -> str:
    """Return an opaque cursor for the place named by `parts`, none of which holds a blank."""
    return base64.urlsafe_b64encode(" ".join(map(str, parts)).encode()).decode().rstrip("=")


def place_of(cursor: str | None) -> list[str] | None:
    """Return the parts of a cursor, or None for the first page. Raises Refusal for anything not ours."""
    if cursor is None:
        return None
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii").split(" ")
    except (binascii.Error, ValueError):
        raise bad_cursor() from None


def number_of(cursor: str | None) -> int | None:
    """Return the number that a cursor of one number names, or None for the first page. Raises Refusal."""
    match place_of(cursor):
        case None:
            return None
        case [number] if number.isascii() and number.isdigit() and len(number) < 10:
            return int(number)
        case _:
            raise bad_cursor()


def event_place_of(cursor: str | None) -> tuple[BatchId, int] | None:
    """Return the batch and place that a cursor of an event names, or None. Raises Refusal."""
    match place_of(cursor):
        case None:
            return None
        case [batch, place] if batch.isdigit() and place.isdigit() and len(batch) < 19 and len(place) < 5:
            return BatchId(int(batch)), int(place)
        case _:
            raise bad_cursor()


def bad_cursor() -> Refusal:
    """Return the refusal of a cursor that this list did not hand out."""
    return Refusal(
        ErrorCode.INVALID, "Use next_cursor as the page before gave it.", FieldProblem("cursor", "invalid")
    )


def split_page(found: Sequence[Item], limit: int) -> tuple[Sequence[Item], bool]:
    """Return up to `limit` items, and whether there are more; ask the store for one more than `limit`."""
    return found[:limit], len(found) > limit


def page_from(items: Sequence[Any], limit: int, cursor: str | None) -> dict[str, Any]:
    """Return a page of a list that is all in memory; its cursor is the place where the next page begins."""
    begin = number_of(cursor) or 0
    end = begin + limit
    return page_body(items[begin:end], cursor_of(end) if end < len(items) else None)


def page_body(items: Sequence[Any], next_cursor: str | None) -> dict[str, Any]:
    """Return the one shape of a list."""
    return {"items": items, "next_cursor": next_cursor}


def partial_page(items: Sequence[Any], next_cursor: str | None, unreadable_batches: int) -> dict[str, Any]:
    """Return a list of stored events, with how many batches of the page could not be read."""
    return {**page_body(items, next_cursor), "unreadable_batches": unreadable_batches}
