"""Paged lists: `{"items": […], "next_cursor": …}` with an opaque cursor."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import lt
from typing import Annotated, Any, Final, Generic, TypeVar

from fastapi import Depends, Query

from app.admin import Refusal, invalid
from app.admin.context import AppContext
from app.admin.events.search import START, SearchPosition
from app.admin.inputs import DIGITS
from app.api.access.secured_route import Context
from app.api.http.responses import ResponseBody
from app.crypto import CannotDecrypt
from app.domain.ids import BatchId

Item = TypeVar("Item")
Row = TypeVar("Row")

_KIND: Final = "cur"
PAGE_SIZE, MOST = 50, 200  # default and maximum number of items
Limit = Annotated[int, DIGITS, Query(ge=1, le=MOST, description="The maximum number of items of a page.")]
Cursor = Annotated[str | None, Query(max_length=200, description="`next_cursor` of the previous page.")]


class Page(ResponseBody, Generic[Item]):
    """A page of a list. Each list has its own subclass, so that the subclass gives its name to the schema."""

    items: list[Item]
    next_cursor: str | None
    """Send it as `cursor` for the next page. Null on the last page."""

    @property
    def unreadable(self) -> int:
        """The number of damaged batches, whose items are missing. A list of rows has none."""
        return 0


class BatchPage(Page[Item]):
    """A page of a list that is read from batches."""

    unreadable_batches: int

    @property
    def unreadable(self) -> int:
        """The number of damaged batches, whose items are missing."""
        return self.unreadable_batches


def cursor_of(context: AppContext, *parts: object) -> str:
    """Return an opaque cursor that contains these parts. No part may contain a space.

    It is encrypted, because the numbers in it count the rows of all organisations.
    """
    return context.opaque.seal(" ".join(map(str, parts)), kind=_KIND)


def bad_cursor() -> Refusal:
    """Return the refusal for an invalid cursor."""
    return invalid("cursor", "invalid", "Use next_cursor as in the previous page.")


AnyPage = TypeVar("AnyPage", bound=Page[Any])


@dataclass(frozen=True, slots=True)
class ListQuery:
    """The query parameters of a list. Use it as `Paging`."""

    context: Context
    limit: Limit = PAGE_SIZE
    cursor: Cursor = None

    @property
    def most(self) -> int:
        """The number of rows to read for `page`: the additional one shows that there is a next page."""
        return self.limit + 1

    @property
    def parts(self) -> list[str] | None:
        """The parts of the cursor, None for the first page. Raises Refusal for an invalid cursor."""
        if self.cursor is None:
            return None
        try:
            return self.context.opaque.open(self.cursor, kind=_KIND).split(" ")
        except CannotDecrypt:
            raise bad_cursor() from None

    @property
    def time_and_id(self) -> tuple[datetime, str] | None:
        """The time and the id in the cursor, None for the first page. Raises Refusal."""
        if (parts := self.parts) is None:
            return None
        try:
            time, id_ = parts
            instant = datetime.fromisoformat(time)
        except ValueError:
            raise bad_cursor() from None
        if instant.tzinfo is None:
            raise bad_cursor()
        return instant, id_

    def _numbers(self, *limits: int) -> list[int] | None:
        """Return the numbers in the cursor, each below its limit, or None for the first page."""
        if (parts := self.parts) is None:
            return None
        numbers = [int(part) for part in parts if part.isdigit()]
        if len(parts) == len(numbers) == len(limits) and all(map(lt, numbers, limits)):
            return numbers
        raise bad_cursor()

    @property
    def number(self) -> int | None:
        """The number in the cursor, None for the first page. Raises Refusal."""
        found = self._numbers(2**31)
        return None if found is None else found[0]

    @property
    def record_id(self) -> int | None:
        """The id of the record in the cursor, None for the first page. Raises Refusal."""
        found = self._numbers(2**63)
        return None if found is None else found[0]

    @property
    def event_place(self) -> tuple[BatchId, int] | None:
        """The batch and the position in the cursor, None for the first page. Raises Refusal."""
        found = self._numbers(2**63, 2**15)
        return None if found is None else (BatchId(found[0]), found[1])

    @property
    def search_position(self) -> SearchPosition:
        """The position of an event search in the cursor; the start for the first page. Raises Refusal."""
        found = self._numbers(2**63, 2**15, 2**63)
        return SearchPosition(BatchId(found[0]), found[1], found[2]) if found else START

    def split(
        self, found: Sequence[Row], place: Callable[[Row], tuple[object, ...]]
    ) -> tuple[Sequence[Row], str | None]:
        """Return up to `limit` of the `most` rows that were read, and the cursor of the next page.

        `place` returns the parts of a row's cursor. Without the additional row there is no next page.
        """
        rows = found[: self.limit]
        return rows, cursor_of(self.context, *place(rows[-1])) if len(found) > self.limit else None

    def page(
        self,
        kind: type[AnyPage],
        found: Sequence[Row],
        place: Callable[[Row], tuple[object, ...]],
        item: Callable[[Row], Any] = lambda row: row,
    ) -> AnyPage:
        """Return a page of up to `most` rows. `place` returns the parts of a row's cursor."""
        rows, next_cursor = self.split(found, place)
        return kind(items=[item(row) for row in rows], next_cursor=next_cursor)

    def part(
        self,
        kind: type[AnyPage],
        rows: Sequence[Row],
        item: Callable[[Row], Any] = lambda row: row,
        **more: Any,
    ) -> AnyPage:
        """Return the page of a list in memory, with the members in `more`. The cursor is an index."""
        begin = self.number or 0
        end = begin + self.limit
        following = cursor_of(self.context, end) if end < len(rows) else None
        return kind(items=[item(row) for row in rows[begin:end]], next_cursor=following, **more)


Paging = Annotated[ListQuery, Depends()]
