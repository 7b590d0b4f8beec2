"""The consent records of a destination as a CSV file."""

import csv
import io
from dataclasses import fields

from app.admin.privacy.consent_records import ConsentRecord
from tests.pipeline.conftest import service
from tests.pipeline.service import Service
from tests.pipeline.world import event

__all__ = ["service"]


async def test_no_cell_of_the_consent_file_is_a_formula(service: Service) -> None:
    """Senders choose event ids, and a spreadsheet runs a text that begins like a formula."""
    world = service.world
    destination = await world.destination(event(1))
    accepted = await world.post(
        destination, *({**event(number), "event_id": id_} for number, id_ in enumerate(("=cmd()", "-1"), 2))
    )
    assert [result.status for result in accepted] == ["accepted"] * 2
    await world.fetch("UPDATE batches SET shapes = 'x' WHERE id = (SELECT min(id) FROM batches)")
    records = (await service.get(f"/destinations/{destination}/consent-records"))["items"]
    assert [record["event_id"] for record in records] == ["-1", "=cmd()"]

    await service.form("/console/sign-in", key=service.key)
    answer = await service.client.get(f"/console/destinations/{destination}/consent.csv")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    disposition = f'attachment; filename="consent-{destination}.csv"'
    assert answer.headers["content-disposition"] == disposition
    header, *rows = csv.reader(io.StringIO(answer.text))
    assert header == [field.name for field in fields(ConsentRecord)]
    of_records = [["" if value is None else str(value) for value in record.values()] for record in records]
    for row in of_records:
        row[0] = f"'{row[0]}"
    detail = "Stored batches are damaged. Their rows are missing in this export."
    assert rows == [*of_records, ["unreadable_batches", detail]]
