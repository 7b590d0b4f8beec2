"""Lists over HTTP: a page `{"items": […], "next_cursor": …}` with an opaque cursor, or a complete export.

An export streams the complete filtered list as CSV or NDJSON, page by page. A separate query reads each page.
So no transaction is open between pages, and the memory holds only one page. A spreadsheet cannot run a cell
as a formula. An incomplete export ends with an error row for each reason.
"""

import csv
import io
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from operator import lt
from typing import Annotated, Any, Final, Generic, TypeVar

import msgspec
from fastapi import Depends, Query
from fastapi.responses import StreamingResponse
from pydantic import TypeAdapter

from app.admin import Refusal, invalid
from app.admin.context import AppContext
from app.admin.events.search import START, SearchPosition
from app.admin.inputs import DIGITS
from app.api.access.secured_route import Context
from app.api.http.responses import CSV, NDJSON, ResponseBody
from app.crypto import CannotDecrypt
from app.domain.ids import BatchId
from app.telemetry import describe_exception

logger = logging.getLogger("app.api.lists")

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

    def listed(
        self,
        found: Sequence[Row],
        place: Callable[[Row], tuple[object, ...]],
        item: Callable[[Row], Any] = lambda row: row,
    ) -> dict[str, Any]:
        """Return the members of a page: up to `limit` of the `most` rows that were read, and the next cursor.

        `place` returns the parts of a row's cursor. Without the additional row there is no next page.
        """
        rows = found[: self.limit]
        following = cursor_of(self.context, *place(rows[-1])) if len(found) > self.limit else None
        return {"items": [item(row) for row in rows], "next_cursor": following}

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


ROWS: Final = 1_000  # rows per page
_CUT_SHORT: Final = (
    "The export is incomplete because of an error. The rows above are valid; repeat the request."
)
_UNREADABLE: Final = "Stored batches are damaged. Their rows are missing in this export."
# A spreadsheet treats a text that begins with one of these characters as a formula. In East Asian locales,
# it also reads the full-width signs.
_FORMULA: Final = re.compile(r"[\t\r\n\0]|[\s\0]*[=+\-@＝＋－＠]")
# Where the decimal sign is a comma, a spreadsheet separates cells by semicolons, and ignores quotation marks
# within such a cell. So a cell can also begin inside a text.
# All signs and white space before the possible formula are one match: a search from each of them would take
# quadratic time.
_INNER_CELL: Final = re.compile(r"([;\t\r\n][\s\0\"]*)([=+\-@＝＋－＠])?")
_AFTER_SIGN: Final = re.compile(r"(?<=[;\t\r\n])")


class ExportFormat(StrEnum):
    """The format of an export."""

    CSV = "csv"
    NDJSON = "ndjson"


Format = Annotated[
    ExportFormat | None,
    Query(alias="format", description="Stream the complete filtered list in this format instead of a page."),
]


PageAt = Callable[[ListQuery], Awaitable[Page[Any]]]
"""Return the page at a cursor with at most a number of items."""


async def export(
    format_: ExportFormat, row: type[Any], page_at: PageAt, query: ListQuery, *, name: str
) -> StreamingResponse:
    """Return the streaming response with the page at the cursor of `query` and all later pages.

    `row` is the type of the items. Each member of this type is a column. The first page is read before the
    response starts, so an error on the first page still gets a status code.
    """
    query = replace(query, limit=ROWS)
    first = await page_at(query)
    adapter = TypeAdapter(row)
    columns = list(adapter.json_schema(mode="serialization")["properties"])
    if format_ is ExportFormat.CSV:
        media_type, header = f"{CSV}; charset=utf-8", csv_lines([columns])
    else:
        media_type, header = NDJSON, b""

    def encode(rows: Sequence[Any]) -> bytes:
        if format_ is ExportFormat.CSV:
            return csv_lines([getattr(row, name) for name in columns] for row in rows)
        return b"".join(adapter.dump_json(row) + b"\n" for row in rows)

    def error_row(error: str, detail: str) -> bytes:
        if format_ is ExportFormat.CSV:
            return csv_lines([[error, detail]])
        return msgspec.json.encode({"error": error, "detail": detail}) + b"\n"

    async def lines() -> AsyncIterator[bytes]:
        page, unreadable = first, first.unreadable
        try:
            yield header + encode(page.items)
            while page.next_cursor is not None:
                page = await page_at(replace(query, cursor=page.next_cursor))
                unreadable += page.unreadable
                yield encode(page.items)
        except Exception as error:
            if not isinstance(error, Refusal):
                logger.warning("export.cut_short", extra={"fields": {"error": describe_exception(error)}})
            yield error_row("cut_short", _CUT_SHORT)
        if unreadable:
            yield error_row("unreadable_batches", _UNREADABLE)

    disposition = f'attachment; filename="{name}.{format_.value}"'
    return StreamingResponse(lines(), media_type=media_type, headers={"Content-Disposition": disposition})


def csv_lines(rows: Iterable[Sequence[Any]]) -> bytes:
    """Return rows as CSV, in which no cell can be run as a formula."""
    out = io.StringIO()
    csv.writer(out).writerows(map(cell, row) for row in rows)
    return out.getvalue().encode()


def cell(value: Any) -> str:
    """Return the text of a cell.

    If a spreadsheet would run the text, or a part of it, as a formula, put an apostrophe before that.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, int | float):
        return str(value)
    text = str(value) if isinstance(value, str) else msgspec.json.encode(value, enc_hook=str).decode()
    text = _INNER_CELL.sub(_quoted, text)
    return f"'{text}" if _FORMULA.match(text) else text


def _quoted(begin: re.Match[str]) -> str:
    gap, formula = begin.groups()
    return begin[0] if formula is None else _AFTER_SIGN.sub("'", gap) + formula


@dataclass(frozen=True, slots=True)
class ExportableQuery(ListQuery):
    """The query parameters of a list that can be exported. Use it as `Listing`."""

    export_format: Format = None

    async def answer(
        self, row: type[Any], page_at: Callable[[ListQuery], Awaitable[AnyPage]], *, name: str
    ) -> AnyPage | StreamingResponse:
        """Return the page at the cursor. With a format, export this page and all later pages instead."""
        if self.export_format is None:
            return await page_at(self)
        return await export(self.export_format, row, page_at, self, name=name)


Listing = Annotated[ExportableQuery, Depends()]
