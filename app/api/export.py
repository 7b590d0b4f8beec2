"""Stream a complete filtered list as CSV or NDJSON, page by page.

A separate query reads each page. So no transaction is open between pages, and the memory holds only one page.
A spreadsheet cannot run a cell as a formula. An incomplete export ends with an error row for each reason.
"""

import csv
import io
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final, TypeVar

import msgspec
from fastapi import Depends, Query
from fastapi.responses import StreamingResponse
from pydantic import TypeAdapter

from app.admin import Refusal
from app.api.paging import ListQuery, Page
from app.telemetry import describe_exception

logger = logging.getLogger("app.api.export")

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


def exportable(page: type[Page[Any]]) -> dict[str, Any]:
    """Return the settings of a route that returns a page or, with the parameter `format`, an export."""
    text = {"schema": {"type": "string"}}
    media_types = {"text/csv": text, "application/x-ndjson": text}
    return {"response_model": page, "responses": {200: {"content": media_types}}}


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
        media_type, header = "text/csv; charset=utf-8", csv_lines([columns])
    else:
        media_type, header = "application/x-ndjson", b""

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


_Page = TypeVar("_Page", bound=Page[Any])


@dataclass(frozen=True, slots=True)
class ExportableQuery(ListQuery):
    """The query parameters of a list that can be exported. Use it as `Listing`."""

    export_format: Format = None

    async def answer(
        self, row: type[Any], page_at: Callable[[ListQuery], Awaitable[_Page]], *, name: str
    ) -> _Page | StreamingResponse:
        """Return the page at the cursor. With a format, export this page and all later pages instead."""
        if self.export_format is None:
            return await page_at(self)
        return await export(self.export_format, row, page_at, self, name=name)


Listing = Annotated[ExportableQuery, Depends()]
