"""Exports of events, rejections, consent records and the audit: whole, formula-safe, without traits."""

import csv
import io
import json
from time import process_time

import pytest

from app.admin import ErrorCode, Refusal
from app.api import lists
from app.api.http.responses import ResponseBody
from app.api.lists import BatchPage, ExportFormat, ListQuery, cell, export
from tests.incidents.conftest import Service
from tests.incidents.test_rejections import nameless
from tests.pipeline.world import event


async def text_of(service: Service, path: str) -> tuple[str, str]:
    answer = await service.client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.text, answer.headers["content-type"]


async def test_an_export_contains_the_complete_list(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over several pages, with the columns of the list, in both formats."""
    monkeypatch.setattr("app.api.lists.ROWS", 3)
    destination = await service.world.destination()
    await service.post(destination, *(event(number) for number in range(10)))
    await service.post(destination, *(nameless(number) for number in range(7)), {"event_id": "=HYPERLINK(1)"})
    for number in range(5):
        await service.client.patch(f"/destinations/{destination}", content=json.dumps({"name": f"n{number}"}))
    path = f"/destinations/{destination}"
    rows = {f"{path}/events": 10, f"{path}/rejections": 8, f"{path}/consent-records": 10, "/audit": 5}
    for list_path, number in rows.items():
        listed = (await service.get(list_path))["items"]
        assert len(listed) == number
        text, media_type = await text_of(service, f"{list_path}?format=ndjson")
        assert media_type == "application/x-ndjson"
        assert [json.loads(line) for line in text.splitlines()] == listed
        text, media_type = await text_of(service, f"{list_path}?format=csv")
        assert media_type == "text/csv; charset=utf-8"
        header, *cells = csv.reader(io.StringIO(text))
        assert header == list(listed[0])
        assert len(cells) == number
        assert "lovelace" not in text
        assert not any(each.startswith(("=", "+", "@")) for row in cells for each in row)
    found, _ = await text_of(service, f"{path}/rejections?format=ndjson&event_id=%3DHYPERLINK(1)")
    (line,) = found.splitlines()
    assert json.loads(line)["event_id"] == "=HYPERLINK(1)"
    assert (await service.client.get(f"{path}/events?format=xml")).status_code == 422
    answer = await service.client.get("/destinations/dst_00000000000000000099/events?format=csv")
    assert answer.status_code == 404


class Row(ResponseBody):
    a: int
    b: str


class RowPage(BatchPage[Row]):
    """A page of rows of batches."""


@pytest.mark.parametrize("error", [None, Refusal(ErrorCode.UNAVAILABLE), ConnectionError("secret")])
@pytest.mark.parametrize("chosen", list(ExportFormat))
async def test_an_export_ends_with_what_it_lacks(chosen: ExportFormat, error: Exception | None) -> None:
    """The rest after an error, without its text, and the rows of damaged batches, once for all pages.

    A page may count a batch of the page before it.
    """

    async def page_at(query: ListQuery) -> RowPage:
        number = int(query.cursor or 0)
        if error is not None and number == 3:
            raise error
        following = None if error is None and number == 2 else str(number + 1)
        return RowPage(items=[Row(a=number, b="x")], next_cursor=following, unreadable_batches=number)

    query = ListQuery(context=object())  # type: ignore[arg-type]
    response = await export(chosen, Row, page_at, query, name="rows")
    text = b"".join([part async for part in response.body_iterator]).decode()  # type: ignore[misc, union-attr]
    errors = {"unreadable_batches": "Stored batches are damaged. Their rows are missing in this export."}
    if error is not None:
        sentence = (
            "The export is incomplete because of an error. The rows above are valid; repeat the request."
        )
        errors = {"cut_short": sentence, **errors}
    if chosen is ExportFormat.CSV:
        rows = [["a", "b"], *([str(number), "x"] for number in range(3))]
        assert list(csv.reader(io.StringIO(text))) == [*rows, *map(list, errors.items())]
    else:
        assert [json.loads(line) for line in text.splitlines()] == [
            *({"a": number, "b": "x"} for number in range(3)),
            *({"error": name, "detail": detail} for name, detail in errors.items()),
        ]
    assert lists.ROWS <= 1_000


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""), (True, "true"), (-5, "-5"), ("=1+1", "'=1+1"), (" =1", "' =1"), ("-x", "'-x"),
        ("＝1", "'＝1"), ("＋1", "'＋1"), ("－1", "'－1"), ("＠a", "'＠a"), (" \u3000＝1", "' \u3000＝1"),
        ("\ta", "'\ta"), ("\ra", "'\ra"), ("\na", "'\na"), ("\0=1", "'\0=1"), ("a=1", "a=1"), ("@a", "'@a"),
        ({"a": 1}, '{"a":1}'), ("plain", "plain"), ("a;=1+1", "a;'=1+1"), ("a;b;c", "a;b;c"),
        ("a;1-1", "a;1-1"), ('a; "=1;', "a;' \"=1;"), ("a\n@b", "a\n'@b"), ("a\t\t-b", "a\t'\t'-b"),
        ("=1;＝2", "'=1;'＝2"), (["a;=1"], '["a;\'=1"]'),
    ],
)  # fmt: skip
def test_a_cell_is_no_formula(value: object, text: str) -> None:
    """Numbers stay numbers."""
    assert cell(value) == text


@pytest.mark.parametrize("between", ["\n", '\t"', "; "])
def test_a_cell_without_a_formula_takes_linear_time(between: str) -> None:
    began = process_time()
    assert cell("a" + between * 20_000) == "a" + between * 20_000
    assert process_time() - began < 1
