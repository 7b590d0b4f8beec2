"""The consent records of a destination as a CSV file."""

import csv
import io
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any
from unittest.mock import MagicMock

import pytest

from app.admin.privacy.consent_records import ConsentRecord, ConsentRecords
from app.api import pages as api_pages
from app.api.paging import ListQuery
from app.console import privacy
from app.console.destinations.visit import DestinationVisit
from app.domain.ids import BatchId, MappingId

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def record(event_id: str) -> ConsentRecord:
    return ConsentRecord(
        event_id, NOW, NOW, MappingId("map_1"), 1, "amazon", None, "granted", "GRANTED/GRANTED", None
    )


async def test_no_cell_of_the_consent_file_is_a_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    """Senders choose event ids, and a spreadsheet runs a text that begins like a formula."""
    pages: Iterator[ConsentRecords] = iter(
        [
            ConsentRecords([record("=cmd()"), record("-1")], (BatchId(1), 0), 1),
            ConsentRecords([record("ord-1")], None, 0),
        ]
    )

    async def next_page(*_: Any, **__: Any) -> ConsentRecords:
        return next(pages)

    monkeypatch.setattr(api_pages, "list_consent_records", next_page)
    monkeypatch.setattr(api_pages, "cursor_of", lambda *_: "next")
    monkeypatch.setattr(ListQuery, "event_place", None)
    visit = DestinationVisit(MagicMock(), MagicMock(), MagicMock(), MagicMock())
    response: Any = await privacy.export_consent(visit)
    text = b"".join([part async for part in response.body_iterator]).decode()
    header, *rows = csv.reader(io.StringIO(text))
    assert header == [column.name for column in fields(ConsentRecord)]
    assert [row[0] for row in rows[:3]] == ["'=cmd()", "'-1", "ord-1"]
    assert rows[0][1] == "2026-11-24T12:00:00Z"
    detail = "1 stored batches are damaged. Their rows are missing in this export."
    assert rows[3:] == [["unreadable_batches", detail]]
