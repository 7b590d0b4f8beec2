"""The commands that call the API, such as `destinations`, `events` and `sessions`."""

import argparse
import getpass
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

from app.commands import WrongArguments, number_within
from app.commands.api_client import ApiClient, ApiUnreachable, add_client_arguments
from app.domain.event import JOURNEY_IDS
from app.settings import Settings

REJECTION_FILTERS = (
    "since", "until", "reason", "field", "mapping_id", *JOURNEY_IDS, "event_id", "request_id",
)  # fmt: skip
TAIL_FILTERS: Final = ("destination_id", "status", "reason", "event_type", *JOURNEY_IDS)
TAIL_COLUMNS: Final[Mapping[str, int]] = {
    "received_at": 24, "status": 9, "event_id": 28, "reason": 22, "event_type": 22, "destination_name": 20,
    "journey_id": 14, "node_id": 12,
}  # fmt: skip
"""The columns of `events tail` with their widths."""
POLL_S: Final = 2.0
FIRST_SPAN: Final = timedelta(seconds=60)  # the age of the oldest events that are printed at the start
FIRST_EVENTS: Final = 200  # the newest of them
OVERLAP: Final = timedelta(seconds=10)
"""The overlap of the time ranges of two polls, because an event can be committed after a later one."""


@dataclass(frozen=True, slots=True)
class ApiAction:
    """A request to the API. A list has `columns`.

    Each of `arguments` is positional. Those that the path does not name, and the options, are query
    parameters of a GET and members of the body of a POST.
    """

    method: str
    path: str
    help: str
    arguments: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()


_DESTINATION = ("destination_id",)
_MAPPING = ("destination_id", "mapping_id")
_ONE = "/destinations/{destination_id}"
_TAIL = ApiAction(
    "GET",
    "/event-search",
    "print events as they arrive, until Ctrl-C",
    options=("destination", *TAIL_FILTERS[1:]),
)
_REJECTIONS = ApiAction(
    "GET", _ONE + "/rejections", "newest first", _DESTINATION, REJECTION_FILTERS,
    ("received_at", "event_id", "code", "reason", "field", "detail"),
)  # fmt: skip
_SUMMARY = ApiAction(
    "GET", _ONE + "/rejections/summary", "counts", _DESTINATION, ("since", "until"),
    ("count", "reason", "code", "field", "mapping_id", "first_at", "last_at"),
)  # fmt: skip
_ERASE = ApiAction("POST", "/subjects/erase", "erase a person", ("field",))

# The actions of each command. A command whose only action has no name takes the arguments itself.
COMMANDS: Mapping[str, Mapping[str, ApiAction]] = {
    "destinations": {
        "list": ApiAction(
            "GET", "/destinations", "list destinations, oldest first",
            columns=("id", "name", "state", "health", "open_incidents", "region", "advertiser_id"),
        ),
        "show": ApiAction("GET", _ONE, "show one destination", _DESTINATION),
        "pause": ApiAction("POST", _ONE + "/pause", "stop delivery; events wait", _DESTINATION),
        "resume": ApiAction("POST", _ONE + "/resume", "resume delivery", _DESTINATION),
    },
    "mappings": {
        "list": ApiAction(
            "GET", _ONE + "/mappings", "list mappings, oldest first", _DESTINATION,
            columns=("id", "name", "state", "published_version", "event_type", "event_name"),
        ),
        "publish": ApiAction(
            "POST", _ONE + "/mappings/{mapping_id}/publish", "publish the draft", _MAPPING, ("note",)
        ),
        "rollback": ApiAction(
            "POST", _ONE + "/mappings/{mapping_id}/rollback", "make an earlier version current",
            (*_MAPPING, "version"),
        ),
    },
    "events": {
        "list": ApiAction(
            "GET", _ONE + "/events", "list events, newest first", _DESTINATION,
            ("status", "reason", "event_type", "since", "until", "mapping_id", *JOURNEY_IDS),
            ("accepted_at", "event_id", "status", "code", "reason", "mapping_id"),
        ),
        "tail": _TAIL,
        "show": ApiAction(
            "GET", "/events/{event_id}", "show the history of one event", ("destination_id", "event_id"),
            ("mapping_id",),
        ),
    },
    "rejections": {"": _REJECTIONS},
    "stats": {
        "": ApiAction("GET", _ONE + "/stats", "statistics", _DESTINATION, ("journey_id", "node_id")),
    },
    "incidents": {
        "list": ApiAction(
            "GET", "/incidents", "list incidents, newest first", (), ("state", "destination_id", "kind"),
            ("id", "severity", "kind", "state", "opened_at", "destination_name", "summary"),
        ),
        "acknowledge": ApiAction(
            "POST", "/incidents/{incident_id}/acknowledge", "show that you are working on it",
            ("incident_id",), ("note",),
        ),
    },
    "sessions": {
        "list": ApiAction(
            "GET", "/sessions", "list sessions, oldest first",
            columns=("id", "person.name", "person.sub", "roles", "started_at", "last_seen_at"),
        ),
        "end": ApiAction("DELETE", "/sessions/{session_id}", "end a session of the console", ("session_id",)),
    },
    "erase": {"": _ERASE},
}  # fmt: skip


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions of a command to its parser, with their arguments."""
    actions = COMMANDS[parser.prog.rsplit(" ", 1)[-1]]
    if "" in actions:
        _add(parser, actions[""])
        return
    children = parser.add_subparsers(metavar="ACTION", required=True)
    for name, action in actions.items():
        _add(children.add_parser(name, help=action.help, description=action.help), action)


def _add(parser: argparse.ArgumentParser, action: ApiAction) -> None:
    for name in action.arguments:
        choices = _subject_fields() if name == "field" else None
        parser.add_argument(
            name,
            metavar=name.upper().removesuffix("_ID"),
            choices=choices,
            help=", ".join(choices) if choices else None,
            type=number_within("a version", 1, 10**9) if name == "version" else str,
        )
    for name in action.options:
        parser.add_argument(
            f"--{name.replace('_', '-')}", dest="destination_id" if name == "destination" else name
        )
    if action.columns:
        parser.add_argument("--limit", type=number_within("a number of rows", 1, 10**9), default=50)
    if action is _REJECTIONS:
        parser.add_argument("--summary", action="store_true", help="count by reason and field, per day")
    parser.set_defaults(action=action)
    add_client_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print the response as JSON")


def _subject_fields() -> tuple[str, ...]:
    """Return the fields that `erase` accepts. Other commands do not need the modules of match keys."""
    from app.domain.privacy.erasure import HASH, IDENTIFYING_FIELDS

    return (*IDENTIFYING_FIELDS, HASH)


def run(settings: Settings, asked: argparse.Namespace) -> None:
    """Call the API for the action in the arguments. Raises CommandFailed."""
    client = ApiClient(settings, asked)
    with suppress(BrokenPipeError):
        if asked.action is _TAIL:
            tail_events(client, asked)
        elif asked.action is _ERASE:
            _call(client, asked, _ERASE, {asked.field: _read_value()})
        elif asked.action is _REJECTIONS and asked.summary:
            if any(getattr(asked, name) for name in set(REJECTION_FILTERS) - set(_SUMMARY.options)):
                raise WrongArguments("Use --summary with --since and --until only.")
            _call(client, asked, _SUMMARY, _sent(asked, _SUMMARY))
        else:
            _call(client, asked, asked.action, _sent(asked, asked.action))


def _sent(asked: argparse.Namespace, action: ApiAction) -> dict[str, Any]:
    """Return the parameters of the request that are not part of its path."""
    names = (name for name in (*action.arguments, *action.options) if f"{{{name}}}" not in action.path)
    return {name: value for name in names if (value := getattr(asked, name)) is not None}


def _call(client: ApiClient, asked: argparse.Namespace, action: ApiAction, sent: dict[str, Any]) -> None:
    path = action.path.format_map({name: quote(str(value), safe="") for name, value in vars(asked).items()})
    if action.columns:
        _print_items(client.items(path, sent, limit=asked.limit), asked, action.columns)
        return
    given: dict[str, Any] = {"query": sent} if action.method == "GET" else {"body": sent or None}
    _print_object(client.call(action.method, path, **given), asked)


def _read_value() -> str:
    """Return the value of `erase`, which is no argument, so that no list of processes shows it."""
    if sys.stdin.isatty():
        return getpass.getpass("Value (not shown): ")
    return sys.stdin.read().removesuffix("\n")


def _print_items(items: Iterable[dict[str, Any]], asked: argparse.Namespace, columns: Sequence[str]) -> None:
    """Print items as a table with these columns. With `--json`, print them as JSON."""
    if asked.json:
        print(json.dumps({"items": list(items)}))
        return
    rows = [[_text(_member(item, name)) for name in columns] for item in items]
    titles = [name.rpartition(".")[2].replace("_", " ") for name in columns]
    widths = [max([len(title), *(len(row[place]) for row in rows)]) for place, title in enumerate(titles)]
    for row in [titles, *rows]:
        print("  ".join(map(str.ljust, row, widths)).rstrip())


def _member(item: dict[str, Any], path: str) -> Any:
    """Return the member at a path such as `person.name`."""
    name, _, rest = path.partition(".")
    return _member(item[name], rest) if rest else item.get(name)


def _print_object(content: dict[str, Any], asked: argparse.Namespace) -> None:
    """Print an object with one line per field; a nested field has a path. With `--json`, print JSON."""
    if asked.json:
        print(json.dumps(content))
        return
    rows = list(_flat(content, ""))
    width = max([len(name) for name, _ in rows], default=0)
    for name, value in rows:
        print(f"{name.ljust(width)}  {value}")


def _flat(content: Any, path: str) -> Iterable[tuple[str, str]]:
    if isinstance(content, dict) and content:
        for name, value in content.items():
            yield from _flat(value, f"{path}.{name}" if path else name)
    elif isinstance(content, list) and content and isinstance(content[0], dict):
        for place, value in enumerate(content):
            yield from _flat(value, f"{path}[{place}]")
    else:
        yield path, _text(content)


def _text(value: Any) -> str:
    if value is None or value in ({}, []):
        return "-"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    # Control characters in a name must not reach the terminal.
    return "".join(letter if letter.isprintable() else "?" for letter in str(value))


class TailWindow:
    """Decides which time range the next poll reads, from `since`, and which of the polled items are new."""

    def __init__(self, now: datetime) -> None:
        self.since = now - FIRST_SPAN
        self.limit: int | None = FIRST_EVENTS
        self._printed: dict[tuple[Any, ...], str] = {}

    def news(self, items: Sequence[dict[str, Any]], polled_at: datetime) -> list[dict[str, Any]]:
        """Return the items that are new or have a new status, oldest first. The poll began at `polled_at`."""
        latest = {_key(item): item for item in items}
        new = [item for key, item in latest.items() if self._printed.get(key) != item["status"]]
        self._printed = {key: item["status"] for key, item in latest.items()}
        if len(items) == self.limit:  # older events are not printed at all
            self.since = min(datetime.fromisoformat(item["received_at"]) for item in items)
        self.since, self.limit = max(self.since, polled_at - OVERLAP), None
        return sorted(new, key=lambda item: str(item["received_at"]))


def _key(item: dict[str, Any]) -> tuple[Any, ...]:
    """Return the values that identify an event. Rejected events with the same id have different times."""
    rejected_at = item["received_at"] if item["status"] == "rejected" else None
    return item["destination_id"], item["mapping_id"], item["event_id"], rejected_at


def tail_events(
    client: ApiClient, asked: argparse.Namespace, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Print events until Ctrl-C. After a lost connection it prints the events that arrived meanwhile."""
    began, clock = client.server_time(), time.monotonic()
    window = TailWindow(began)
    filters = {name: getattr(asked, name) for name in TAIL_FILTERS}
    if not asked.json:
        print(_row({name: name.replace("_", " ") for name in TAIL_COLUMNS}), flush=True)
    is_lost = False
    while True:
        polled_at = began + timedelta(seconds=time.monotonic() - clock)
        try:
            query = {**filters, "since": window.since.isoformat()}
            items = list(client.items("/event-search", query, limit=window.limit))
        except ApiUnreachable as problem:
            if not is_lost:
                print(f"{problem} Trying again…", file=sys.stderr, flush=True)
            is_lost = True
        else:
            if is_lost:
                print("Connected again.", file=sys.stderr, flush=True)
            is_lost = False
            for item in window.news(items, polled_at):
                print(json.dumps(item) if asked.json else _row(item), flush=True)
        sleep(POLL_S)


def _row(item: Mapping[str, Any]) -> str:
    texts = [(_text(item[name]), width) for name, width in TAIL_COLUMNS.items()]
    cells = (text if len(text) <= width else f"{text[: width - 1]}…" for text, width in texts)
    return "  ".join(map(str.ljust, cells, TAIL_COLUMNS.values())).rstrip()
