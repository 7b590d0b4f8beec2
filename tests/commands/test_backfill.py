"""`backfill` posts rows as events, resumes after kill -9, and neither prints nor stores values."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import pytest

from app.commands.backfill import Progress, checkpoint_path, read_checkpoint, write_checkpoint
from app.commands.import_file import FileError, ImportRow, read_csv, read_ndjson
from app.commands.private_files import delete_private
from tests.listening import SilentHandler, handling
from tests.pipeline import fork_server
from tests.pipeline.processes import ADMIN, Product, running_product
from tests.pipeline.world import BEGAN, eventually
from tests.tables import cases

HEADER = "event_id,event.timestamp,event.total:number,event.brand,user.email"


def rows_of(text: str | bytes, **more: Any) -> list[ImportRow]:
    return list(read_csv(BytesIO(text.encode() if isinstance(text, str) else text), **more))


def test_a_csv_row_becomes_the_event_that_its_header_describes() -> None:
    """Dotted paths nest; kinds are as the header says; an empty cell is absent; quotes may span lines."""
    text = (
        'a.b,a.c:number,a.d:boolean,a.e:json,"a[""f g""]"\n1,2.5,TRUE,"[1,{""x"":null}]","two\nlines"\n,,,,\n'
    )
    first, second = rows_of(text)
    assert json.loads(first.event or b"") == {
        "a": {"b": "1", "c": 2.5, "d": True, "e": [1, {"x": None}], "f g": "two\nlines"}
    }
    assert json.loads(second.event or b"") == {}
    assert second.end == len(text)


def test_a_number_keeps_its_digits() -> None:
    """As in NDJSON. JSON that names a member twice is left to the service, which refuses it."""
    (row,) = rows_of('a:number,b:number,c:json\n1234567890123456.78,2.50,"{""x"":0.30,""x"":1}"\n')
    assert row.event == b'{"a":1234567890123456.78,"b":2.50,"c":{"x":0.30,"x":1}}'


def test_a_cell_may_be_as_long_as_its_row() -> None:
    """The parser's own limit is 128 KiB."""
    (row,) = rows_of("a\n" + "x" * 200_000 + "\n")
    assert len(row.event or b"") == 200_008


@cases(
    ("row", "problem", "column"),
    {
        "a word for a number": (b"e1,t,twelve,x,y", "cell_not_a_number", "event.total"),
        "an infinite number": (b"e1,t,1e999,x,y", "cell_not_a_number", "event.total"),
        "cells are missing": (b"e1,t,1", "row_has_other_columns", None),
        "a cell too many": (b"e1,t,1,x,y,z", "row_has_other_columns", None),
        "not UTF-8": (b"e1,t,1,\xff,y", "row_not_utf8", None),
        "a line without end": (b"e1,t,1," + b"x" * 1_100_000 + b",y", "row_too_long", None),
    },
)
def test_a_row_that_cannot_be_read_is_reported_by_number_and_column(
    row: bytes, problem: str, column: str | None
) -> None:
    """And its neighbours are read all the same."""
    bad, good = rows_of(HEADER.encode() + b"\n" + row + b"\ne2,t,1,x,y\n")
    expected = problem if column is None else f"{problem} in column {column}"
    assert (bad.number, bad.problem, bad.event) == (2, expected, None)
    assert (good.number, good.problem) == (3, None)


@pytest.mark.parametrize(
    "header",
    ["user.email,user", "user.email,user.email", "user..email", "a,", "items[0]", "value:money", ""],
)
def test_a_header_that_can_be_read_two_ways_is_refused(header: str) -> None:
    """The whole file is: every row would be wrong."""
    with pytest.raises(FileError, match=r"^(Row 1|The file is empty)"):
        rows_of(f"{header}\n1,2\n" if header else "")


@pytest.mark.parametrize(
    "header",
    ["user.email,a".encode("utf-16"), b"caf\xe9,a", b'"a', b"a" * 2_000_000],
    ids=["UTF-16", "Latin-1", "a quote left open", "too long"],
)
def test_a_header_that_cannot_be_read_is_refused_in_a_sentence(header: bytes) -> None:
    """As a spreadsheet may save it; it was a traceback."""
    with pytest.raises(FileError, match=r"^Row 1: "):
        rows_of(header + b"\n1,2\n")


def test_quotes_that_do_not_close_end_the_reading_at_their_row() -> None:
    """The rest of the file cannot be distinguished from the cell."""
    read = []
    with pytest.raises(FileError, match=r"^Row 3: ") as raised:
        read += list(read_csv(BytesIO(b'a,b\n1,2\n3,"secret" 4\n5,6\n')))
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("reader", [read_csv, read_ndjson], ids=["csv", "ndjson"])
def test_reading_on_from_any_row_gives_the_rest(reader: Any) -> None:
    """Offsets are places in the file, whatever quotes, blank lines and byte order marks lie between."""
    text = (
        b'\xef\xbb\xbfa,b\r\n"1\n1",\xc3\xa4\r\n\r\n3,4\n5,6'
        if reader is read_csv
        else b'{"a":1}\n\n {"b":2}\n{"c":3}'
    )
    rows = list(reader(BytesIO(text)))
    assert len(rows) == 3
    for index, row in enumerate(rows):
        rest = list(reader(BytesIO(text), start=row.end, number=row.number))
        assert [(one.number, one.end, one.event) for one in rest] == [
            (one.number, one.end, one.event) for one in rows[index + 1 :]
        ]


def test_a_report_lists_rows_in_spans_and_no_more_than_fit() -> None:
    """However many rows are refused, the report stays one screen and says how many it leaves out."""
    filled = Progress(0, 0)
    for number in (*range(2, 5), 9, *range(1001, 2001, 2)):
        filled.reject(number, "BAD_REQUEST timestamp_missing at event.timestamp")
    (_, line) = filled.report(dry_run=False)
    assert line.startswith(
        "  Rejected: BAD_REQUEST timestamp_missing at event.timestamp: 504 (rows 2-4, 9, 1001"
    )
    assert line.endswith(" and 302 more)")


# --- The command, against a server that writes down what it is asked ------------------------------


class Listening(SilentHandler):
    """Answers as the API would; the first answers may be others."""

    address: ClassVar[str]
    before: ClassVar[list[tuple[int, dict[str, str]]]]
    requests: ClassVar[list[tuple[float, str, list[bytes]]]]

    def do_POST(self) -> None:
        lines = self.rfile.read(int(self.headers["Content-Length"])).split(b"\n")
        self.requests.append((time.monotonic(), self.path, lines))
        status, headers = self.before.pop(0) if self.before else (202, {})
        results = [{"index": n, "event_id": None, "status": "accepted"} for n in range(len(lines))]
        answer = {"results": results} if status == 202 else {"error": "unavailable", "detail": "Later."}
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())


@pytest.fixture
def listening() -> Iterator[type[Listening]]:
    Listening.before, Listening.requests = [], []
    with handling(Listening) as server:
        Listening.address = f"http://127.0.0.1:{server.server_port}"
        yield Listening


def backfill(folder: Path, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return fork_server.run(["backfill", *words], environment(folder), given=given)


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "DATA_DIR": str(folder / "data"), "BOOTSTRAP_ADMIN_KEY": ADMIN}


def test_it_waits_as_long_as_it_is_asked_to(listening: type[Listening], tmp_path: Path) -> None:
    """Retry-After of a 429 and of a 503 is obeyed, and the same lines are sent again, with low priority."""
    listening.before = [(429, {"Retry-After": "1"}), (503, {"Retry-After": "1"}), (503, {"Retry-After": "0"})]
    (tmp_path / "f.ndjson").write_text('{"event_id": "a"}\n{"event_id": "b"}\n')
    ended = backfill(
        tmp_path, str(tmp_path / "f.ndjson"), "--destination", "dst_1", "--api", listening.address
    )
    assert ended.returncode == 0, ended.stderr
    first, second, third, _ = listening.requests
    assert ended.stderr == "The API keeps responding with 503. Trying again for 10 minutes…\n"
    assert second[0] - first[0] >= 1
    assert third[0] - second[0] >= 1
    assert first[1:] == second[1:] == third[1:]
    assert "priority=low" in first[1]
    assert "2 rows: 2 accepted" in ended.stdout


def test_standard_input_is_read_like_a_file(listening: type[Listening], tmp_path: Path) -> None:
    """A stream cannot be gone on with, so nothing is kept of it."""
    words = ("-", "--format", "csv", "--destination", "dst_1", "--api", listening.address)
    ended = backfill(tmp_path, *words, given="event_id\na\n")
    assert ended.returncode == 0, ended.stderr
    assert listening.requests[0][2] == [b'{"event_id":"a"}']
    assert not list(tmp_path.rglob("backfill/*"))


@pytest.mark.parametrize(
    ("status", "sentence"),
    [(401, "(401): Later."), (404, "refused the rows (404)"), (413, "refused the rows (413)")],
)
def test_what_will_not_pass_by_itself_ends_it_with_a_sentence(
    listening: type[Listening], tmp_path: Path, status: int, sentence: str
) -> None:
    """A wrong key or address is reported at once; the position is stored."""
    listening.before = [(status, {})]
    (tmp_path / "f.csv").write_text("event_id\na\n")
    ended = backfill(tmp_path, str(tmp_path / "f.csv"), "--destination", "dst_1", "--api", listening.address)
    assert ended.returncode == 1
    assert sentence in ended.stderr


def test_a_file_that_changed_in_between_is_not_gone_on_with(
    listening: type[Listening], tmp_path: Path
) -> None:
    """An offset means nothing in another file; `--restart` is the way."""
    file = tmp_path / "f.csv"
    file.write_text("event_id\na\n")
    listening.before = [(401, {})]
    words = (str(file), "--destination", "dst_1", "--api", listening.address)
    assert backfill(tmp_path, *words).returncode == 1
    file.write_text("event_id\na\nb\n")
    ended = backfill(tmp_path, *words)
    assert ended.returncode == 2
    assert "--restart" in ended.stderr
    assert backfill(tmp_path, *words, "--restart").returncode == 0


# --- The command, against the product -------------------------------------------------------------


@pytest.mark.parametrize("words", [("none.csv",), ("none",), ("rows.csv", "--key-file", "none.key")])
def test_a_missing_file_is_named(tmp_path: Path, words: tuple[str, ...]) -> None:
    """The file of the rows, or of the key."""
    (tmp_path / "rows.csv").write_text("event_id\n")
    file, *more = words
    ended = backfill(tmp_path, str(tmp_path / file), "--destination", "dst_1", *more)
    assert ended.returncode == 2
    assert f"{words[-1]}: No such file or directory" in ended.stderr


def line(number: int) -> str:
    if number % 1000 == 7:
        return f"ord-{number},{BEGAN},1,acme,\n"  # no match key
    if number % 1000 == 8:
        return f"ord-{number},{BEGAN},much,acme,person{number}@example.com\n"
    return f"ord-{number},{BEGAN},{number},acme,person{number}@example.com\n"


def test_what_a_run_left_that_was_killed_while_it_wrote_goes_with_the_bookmark(tmp_path: Path) -> None:
    """A bookmark is replaced in one step, from a nameless file beside it; another file's stays."""
    mine, other = (checkpoint_path(tmp_path, tmp_path / name, "dst_1", None) for name in ("a.csv", "b.csv"))
    for bookmark in (mine, other):
        write_checkpoint(bookmark, Progress(0, 0))
        bookmark.with_name(f".{bookmark.name}.x1y2z3").touch()
    delete_private(mine)
    left = {path.name for path in (tmp_path / "backfill").iterdir()}
    assert left == {other.name, f".{other.name}.x1y2z3"}


@pytest.mark.parametrize(
    "stored", [b"", b"{", b"\xff\xfe", b'{"size": 0, "changed_ns": 0, "rejected": {"\xff": {}}}']
)
def test_a_damaged_bookmark_counts_as_none(tmp_path: Path, stored: bytes) -> None:
    bookmark = tmp_path / "bookmark.json"
    bookmark.write_bytes(stored)
    assert read_checkpoint(bookmark) is None


def test_a_bookmark_is_read_in_every_locale(tmp_path: Path) -> None:
    """Reasons of rejections may have any letter; the locale of a machine may have few."""
    written = Progress(1, 2)
    written.reject(3, "größer als erlaubt")
    path = tmp_path / "bookmark.json"
    code = f"""
from pathlib import Path
from app.commands.backfill import Progress, write_checkpoint
progress = Progress(1, 2)
progress.reject(3, "gr\\xf6\\xdfer als erlaubt")
write_checkpoint(Path({str(path)!r}), progress)
"""
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert read_checkpoint(path) == written


async def test_killed_in_the_middle_it_goes_on_and_every_row_is_there_once(
    database_url: str, tmp_path: Path
) -> None:
    """kill -9, the same command again: each row is accepted once, and the report names those that are not."""
    rows, bad = 20_000, 20
    file = tmp_path / "people.csv"
    file.write_text(HEADER + "\n" + "".join(map(line, range(2, rows + 2))))
    product = Product(database_url, tmp_path / "log.txt")
    async with running_product(product) as operator:
        dst = await operator.destination("4000000000001")
        words = (str(file), "--destination", dst, "--api", product.api)
        rehearsed = product.run("backfill", *words, "--dry-run")
        assert "19,960 would be accepted" in rehearsed.stdout, rehearsed.stderr
        assert (await operator.counts(dst))["accepted"] == 0

        with open(os.devnull, "wb") as nothing:
            killed = fork_server.start(["backfill", *words], product.environment, nothing.fileno())

        async def begun() -> bool:
            return (await operator.counts(dst))["accepted"] > 2_000

        await eventually(begun, seconds=60)
        killed.kill()
        killed.wait()
        assert (await operator.counts(dst))["accepted"] < rows

        # Killed while it was replaced, it has a nameless one beside it.
        (bookmark,) = (tmp_path / "backfill").glob("*.json")
        kept = bookmark.read_text()
        assert "person" not in kept
        assert "acme" not in kept
        assert 0 < json.loads(kept)["row"] < rows

        ended = product.run("backfill", *words)
        counts = await operator.counts(dst)
    assert ended.returncode == 1, ended.stderr
    assert counts["accepted"] == rows - 2 * bad
    assert "Resuming after row" in ended.stderr
    totals = re.search(r"20,000 rows: ([0-9,]+) accepted, ([0-9,]+) duplicates, 40 rejected", ended.stdout)
    assert totals is not None, ended.stdout
    assert int(totals[1].replace(",", "")) + int(totals[2].replace(",", "")) == rows - 2 * bad
    assert "BAD_REQUEST no_match_key" in ended.stdout
    assert "cell_not_a_number in column event.total: 20 (rows 8, 1008, 2008" in ended.stdout
    assert "person" not in ended.stdout + ended.stderr
    assert not list((tmp_path / "backfill").iterdir())
