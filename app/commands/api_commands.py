"""The commands that call the API, such as `destinations`, `events` and `sessions`."""

import argparse
import getpass
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from app.commands.api_client import ApiClient, add_client_arguments
from app.commands.event_tail import FILTERS, tail_events
from app.commands.failure import CommandFailed
from app.domain.event import JOURNEY_IDS
from app.settings import Settings

LIMIT = 50
EVENT_FILTERS = (
    "status", "reason", "event_type", "since", "until", "mapping_id", *JOURNEY_IDS,
)  # fmt: skip
REJECTION_FILTERS = (
    "since", "until", "reason", "field", "mapping_id", *JOURNEY_IDS, "event_id", "request_id",
)  # fmt: skip
SUBJECT_FIELDS = (
    "email", "phone", "maid", "ramp_id", "match_id", "real_id", "merkle_id", "kantar_id", "fip", "hash",
)  # fmt: skip
Action = Callable[[ApiClient, argparse.Namespace], None]
Parser = argparse.ArgumentParser


def destinations_arguments(parser: Parser) -> None:
    actions = _actions(parser)
    _list_action(actions, _list_destinations)
    for name, text in (
        ("show", "one destination"),
        ("pause", "stop delivery; events wait"),
        ("resume", "resume delivery"),
    ):
        action = _action(actions, name, text, _show_destination if name == "show" else _change_destination)
        action.add_argument("destination", metavar="DESTINATION")


def mappings_arguments(parser: Parser) -> None:
    actions = _actions(parser)
    _list_action(actions, _list_mappings).add_argument("destination", metavar="DESTINATION")
    publish = _action(actions, "publish", "publish the draft", _publish)
    rollback = _action(actions, "rollback", "make an earlier version current", _rollback)
    for action in (publish, rollback):
        action.add_argument("destination", metavar="DESTINATION")
        action.add_argument("mapping", metavar="MAPPING")
    publish.add_argument("--note", help="note for other people")
    rollback.add_argument("version", type=int, metavar="VERSION")


def events_arguments(parser: Parser) -> None:
    actions = _actions(parser)
    listed = _list_action(actions, _list_events)
    listed.add_argument("destination", metavar="DESTINATION")
    for name in EVENT_FILTERS:
        listed.add_argument(f"--{name.replace('_', '-')}")
    tail = _action(actions, "tail", "print events as they arrive, until Ctrl-C", tail_events)
    tail.add_argument("--destination", dest="destination_id", metavar="DESTINATION", help="default: all")
    for name in FILTERS[1:]:
        tail.add_argument(f"--{name.replace('_', '-')}")
    show = _action(actions, "show", "the history of one event", _show_event)
    show.add_argument("destination", metavar="DESTINATION")
    show.add_argument("event", metavar="EVENT_ID")
    show.add_argument("--mapping-id", help="required when several mappings accepted this id")


def rejections_arguments(parser: Parser) -> None:
    parser.add_argument("destination", metavar="DESTINATION")
    for name in REJECTION_FILTERS:
        parser.add_argument(f"--{name.replace('_', '-')}")
    parser.add_argument("--summary", action="store_true", help="count by reason and field, per day")
    parser.add_argument("--limit", type=int, default=LIMIT)
    parser.set_defaults(action=_rejections)
    add_client_arguments(parser)


def stats_arguments(parser: Parser) -> None:
    parser.add_argument("destination", metavar="DESTINATION")
    parser.add_argument("--journey-id")
    parser.add_argument("--node-id")
    parser.set_defaults(action=_stats)
    add_client_arguments(parser)


def incidents_arguments(parser: Parser) -> None:
    actions = _actions(parser)
    listed = _list_action(actions, _list_incidents)
    listed.add_argument("--state", choices=("open", "acknowledged", "resolved"))
    listed.add_argument("--destination-id")
    listed.add_argument("--kind")
    acknowledge = _action(actions, "acknowledge", "show that you are working on it", _acknowledge)
    acknowledge.add_argument("incident", metavar="INCIDENT")
    acknowledge.add_argument("--note")


def sessions_arguments(parser: Parser) -> None:
    actions = _actions(parser)
    _list_action(actions, _list_sessions, "oldest first")
    _action(actions, "end", "end a session of the console", _end_session).add_argument(
        "session", metavar="SESSION"
    )


def erase_arguments(parser: Parser) -> None:
    """Add the arguments of `erase`. The value itself is read from standard input."""
    parser.add_argument("field", choices=SUBJECT_FIELDS, metavar="FIELD", help=", ".join(SUBJECT_FIELDS))
    parser.set_defaults(action=_erase)
    add_client_arguments(parser)


def run(settings: Settings, asked: argparse.Namespace) -> None:
    """Call the API for the action in the arguments. Raises CommandFailed."""
    action: Action = asked.action
    with suppress(BrokenPipeError):
        action(ApiClient(settings, asked), asked)


def _actions(parser: Parser) -> Any:
    return parser.add_subparsers(metavar="ACTION", required=True)


def _action(actions: Any, name: str, text: str, action: Action) -> Parser:
    parser: Parser = actions.add_parser(name, help=text, description=text)
    parser.set_defaults(action=action, verb=name)
    add_client_arguments(parser)
    return parser


def _list_action(actions: Any, action: Action, order: str = "newest first") -> Parser:
    parser = _action(actions, "list", order, action)
    parser.add_argument("--limit", type=int, default=LIMIT)
    return parser


def _list_destinations(client: ApiClient, asked: argparse.Namespace) -> None:
    items = client.items("/destinations", limit=asked.limit)
    _print_items(items, asked, ("id", "name", "state", "health", "open_incidents", "region", "advertiser_id"))


def _show_destination(client: ApiClient, asked: argparse.Namespace) -> None:
    _print_object(client.call("GET", f"/destinations/{_part(asked.destination)}"), asked)


def _change_destination(client: ApiClient, asked: argparse.Namespace) -> None:
    _print_object(client.call("POST", f"/destinations/{_part(asked.destination)}/{asked.verb}"), asked)


def _list_mappings(client: ApiClient, asked: argparse.Namespace) -> None:
    items = client.items(f"/destinations/{_part(asked.destination)}/mappings", limit=asked.limit)
    _print_items(items, asked, ("id", "name", "state", "published_version", "event_type", "event_name"))


def _publish(client: ApiClient, asked: argparse.Namespace) -> None:
    body = {} if asked.note is None else {"note": asked.note}
    _print_object(client.call("POST", f"{_mapping(asked)}/publish", body=body), asked)


def _rollback(client: ApiClient, asked: argparse.Namespace) -> None:
    _print_object(client.call("POST", f"{_mapping(asked)}/rollback", body={"version": asked.version}), asked)


def _list_events(client: ApiClient, asked: argparse.Namespace) -> None:
    filters = {name: getattr(asked, name) for name in EVENT_FILTERS}
    items = client.items(f"/destinations/{_part(asked.destination)}/events", filters, limit=asked.limit)
    _print_items(items, asked, ("accepted_at", "event_id", "status", "code", "reason", "mapping_id"))


def _show_event(client: ApiClient, asked: argparse.Namespace) -> None:
    query = {"destination_id": asked.destination, "mapping_id": asked.mapping_id}
    _print_object(client.call("GET", f"/events/{_part(asked.event)}", query=query), asked)


def _rejections(client: ApiClient, asked: argparse.Namespace) -> None:
    path = f"/destinations/{_part(asked.destination)}/rejections"
    filters = {name: getattr(asked, name) for name in REJECTION_FILTERS}
    if asked.summary:
        if any(value for name, value in filters.items() if name not in ("since", "until")):
            raise CommandFailed("Use --summary with --since and --until only.")
        filters = {name: filters[name] for name in ("since", "until")}
        items = client.items(f"{path}/summary", filters, limit=asked.limit)
        _print_items(items, asked, ("count", "reason", "code", "field", "mapping_id", "first_at", "last_at"))
        return
    items = client.items(path, filters, limit=asked.limit)
    _print_items(items, asked, ("received_at", "event_id", "code", "reason", "field", "detail"))


def _stats(client: ApiClient, asked: argparse.Namespace) -> None:
    query = {"journey_id": asked.journey_id, "node_id": asked.node_id}
    _print_object(client.call("GET", f"/destinations/{_part(asked.destination)}/stats", query=query), asked)


def _list_incidents(client: ApiClient, asked: argparse.Namespace) -> None:
    filters = {name: getattr(asked, name) for name in ("state", "destination_id", "kind")}
    items = client.items("/incidents", filters, limit=asked.limit)
    _print_items(
        items, asked, ("id", "severity", "kind", "state", "opened_at", "destination_name", "summary")
    )


def _acknowledge(client: ApiClient, asked: argparse.Namespace) -> None:
    body = {} if asked.note is None else {"note": asked.note}
    _print_object(client.call("POST", f"/incidents/{_part(asked.incident)}/acknowledge", body=body), asked)


def _list_sessions(client: ApiClient, asked: argparse.Namespace) -> None:
    items = client.items("/sessions", limit=asked.limit)
    rows = items if asked.json else ({**item, **item["person"]} for item in items)
    _print_items(rows, asked, ("id", "name", "sub", "roles", "started_at", "last_seen_at"))


def _end_session(client: ApiClient, asked: argparse.Namespace) -> None:
    _print_object(client.call("DELETE", f"/sessions/{_part(asked.session)}"), asked)


def _erase(client: ApiClient, asked: argparse.Namespace) -> None:
    is_typed = sys.stdin.isatty()
    value = getpass.getpass("Value (not shown): ") if is_typed else sys.stdin.read().removesuffix("\n")
    _print_object(client.call("POST", "/subjects/erase", body={asked.field: value}), asked)


def _mapping(asked: argparse.Namespace) -> str:
    return f"/destinations/{_part(asked.destination)}/mappings/{_part(asked.mapping)}"


def _part(text: str) -> str:
    return quote(text, safe="")


def _print_items(items: Iterable[dict[str, Any]], asked: argparse.Namespace, columns: Sequence[str]) -> None:
    """Print items as a table with these columns. With `--json`, print them as JSON."""
    if asked.json:
        print(json.dumps({"items": list(items)}))
        return
    rows = [[_text(item.get(name)) for name in columns] for item in items]
    widths = [max([len(name), *(len(row[place]) for row in rows)]) for place, name in enumerate(columns)]
    for row in [[name.replace("_", " ") for name in columns], *rows]:
        print("  ".join(map(str.ljust, row, widths)).rstrip())


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
