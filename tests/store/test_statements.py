"""Every statement of app/store on a table with `organisation_id` compares it with the acting organisation.

The statements are read from the source, so that a new one is judged as well.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import asyncpg

STORE = Path(__file__).parents[2] / "app" / "store"

# Statements that serve all organisations, each with the reason: `module.function` or `module.CONSTANT`.
_LANE = "a worker serves the lanes of all organisations; it names lane and destination by number"
_TOKENS = "a worker refreshes the tokens of the destination that it serves, named by its id"
_SESSION = "the digest of the cookie names the session, and the session its key"
_REPORTS = "a worker reports final states of destinations that it names by number"
_MONITOR = "the monitor watches all organisations; each incident carries its own"
_BALANCE = "a worker compares all counts with all batches"
_PLATFORM = "the platform names an organisation by its id"
_SCAN = "a worker scans for all organisations, each erasure in the batches of its own"
FOR_ALL = {
    "attempts.any_in_flight": _LANE,
    "attempts.find_outcome": _LANE,
    "attempts.start": _LANE,
    "attempts.start_probe": _LANE,
    "attempts.write_delivered": _LANE,
    "attempts.write_outcome": _LANE,
    "audit.chain": "the chain links the rows of all organisations; only its verification reads them all",
    "audit.unlinked": "see audit.chain",
    "audit_head.read": "a worker logs the newest link of the chain, which holds no row's content",
    "database.balance.destinations": _BALANCE,
    "database.balance.mapping_ids": _BALANCE,
    "destinations.cache.load": "ingest serves all organisations; it compares the one of each destination",
    "destinations.cache.pin_names": "one flush stores events of many; each name comes with its organisation",
    "destinations.cache.pinned_names": "see cached_destinations.pin_names",
    "callbacks.note": _REPORTS,
    "callbacks.mark_failed": _REPORTS,
    "callbacks.destinations_of": _REPORTS,
    "callbacks.mappings_of": _REPORTS,
    "callbacks.read_status": "names the destination by its number, which a scoped statement found",
    "destinations.destinations._COLUMNS": "names the destination by its number",
    "destinations.destinations.count_published": "a part of a statement that names the organisation",
    "events.id_digests.add": "each row carries the organisation of its batches",
    "events.id_digests.unread": "a worker reads the ids of all organisations' batches",
    "batches.postpone": _LANE,
    "due_work._POLL": _LANE,
    "due_work._POLL_TABLES": _LANE,
    "due_work._owed_around_damage": _LANE,
    "due_work._poll_around_damage": _LANE,
    "privacy.erasures.delete_samples": _SCAN,
    "privacy.erasures.next_batches": "a worker scans for all organisations; its caller selects them",
    "privacy.erasures.oldest_age_s": "a gauge of the installation, without an organisation",
    "privacy.erasures.pending": _SCAN,
    "privacy.erasures.advance": _SCAN,
    "privacy.erasures.add_found": _SCAN,
    "privacy.erasures.finish": _SCAN,
    "privacy.erasures.read_locked": _SCAN,
    "events.attempts.attempts": "names the destination by its number, which a scoped statement found",
    "destinations.figures.destination_figures": "names the destination by the number of a scoped statement",
    "flush._FUNCTION_SQL": "one flush stores events of many; ingest compared the organisation of each",
    "flush.read_preconditions": "see flush._FUNCTION_SQL",
    "access.keys.note_use": "the key that was just authenticated",
    "due_work._OWED": _LANE,
    "due_work._busy": _LANE,
    "lanes.acquire": _LANE,
    "lanes.block_until": _LANE,
    "lanes.hold": _LANE,
    "due_work.pace_settings": _LANE,
    "lanes.record_summary": _LANE,
    "lanes.release": _LANE,
    "lanes.renew": _LANE,
    "organisations.usage.record_day": "maintenance adds up each organisation before it drops a day",
    "organisations.usage.by_day": "the platform asks for an organisation, named by its id",
    "organisations.organisations.suspend_destinations": _PLATFORM,
    "database.partitions.drop_day": "maintenance drops whole days",
    "access.sessions.act_for": _SESSION,
    "access.sessions.begin": _SESSION,
    "access.sessions.delete_expired": _SESSION,
    "access.sessions.note": _SESSION,
    "access.sessions.find": _SESSION,
    "access.sessions.end": _SESSION,
    "destinations.sign_ins.delete_expired": "deletes expired states of all",
    "destinations.sign_ins.spend": "the state is the credential, and names the organisation",
    "destinations.token_leases.read": _TOKENS,
    "destinations.token_leases.acquire": _TOKENS,
    "destinations.token_leases.release": _TOKENS,
    "destinations.token_leases.store_tokens": _TOKENS,
    "destinations.token_leases.record_refusal": _TOKENS,
    "destinations.token_leases.confirm_token": _TOKENS,
    "destinations.token_leases.park": _TOKENS,
    "destinations.token_leases.endpoint_found": _TOKENS,
    "match_quality.shadows.running": "an API process converts events of all organisations",
    "incidents.facts.watched": _MONITOR,
    "incidents.facts.workers": _MONITOR,
    "incidents.facts.record_intake": _MONITOR,
    "incidents.facts.forget_intake": _MONITOR,
    "incidents.facts.intake": _MONITOR,
    "incidents.facts.volumes": _MONITOR,
    "incidents.current": _MONITOR,
    "incidents.accepted_findings": _MONITOR,
    "incidents.insert": _MONITOR,
    "incidents.update": _MONITOR,
    "incidents.delete_old": _MONITOR,
    "incidents.open_by_kind": _MONITOR,
    "incidents.notifications.sent": _MONITOR,
    "incidents.notifications.mark_sent": _MONITOR,
    "incidents.notifications.loads": _MONITOR,
    "incidents.notifications.enqueue": _MONITOR,
    "incidents.notifications.drop_unsent": _MONITOR,
    "incidents.notifications.declare": _MONITOR,
    "incidents.notifications.declared": _MONITOR,
    "incidents.notifications.claim": _MONITOR,
    "incidents.notifications.finish": _MONITOR,
    "incidents.notifications.reschedule": _MONITOR,
    "incidents.notifications.forget": _MONITOR,
    "incidents.notifications.channel_succeeded": _MONITOR,
    "incidents.notifications.make_waiting_due": _MONITOR,
    "incidents.notifications.channel_failed": _MONITOR,
    "incidents.notifications.failing_channels": _MONITOR,
    "organisations.usage.exchange_demand": "an API process shares limits of the organisations it serves",
    "events.rejections.add": "one flush counts rejections of many organisations, by destination",
    "destinations.outcome_history.record": _MONITOR,
    "destinations.outcome_history.forget": _MONITOR,
    "destinations.outcome_history.forget_totals": _MONITOR,
    "events.rejections.delete_old": "maintenance deletes whole days",
    "waiting_events.read": "gauges of a worker, without a label of an organisation",
    "waiting_events.paces": "gauges of a worker, without a label of an organisation",
    "waiting_events.longest_waits": "gauges of a worker, without a label of an organisation",
}

# How many statements of a function are meant, where it is not one: a new one beside them is judged.
SEVERAL = {
    "incidents.facts.forget_intake": 2,
}


async def test_every_statement_names_the_organisation(owner: asyncpg.Connection) -> None:
    """Or is listed with the reason why it serves all of them."""
    rows = await owner.fetch(
        "SELECT table_name FROM information_schema.columns "
        "WHERE table_schema = 'public' AND column_name = 'organisation_id'"
    )
    owned = re.compile(rf"\b(?:FROM|JOIN|INTO|UPDATE)\s+({'|'.join(row['table_name'] for row in rows)})\b")
    unscoped = Counter(
        place
        for path in sorted([*STORE.rglob("*.py"), *STORE.rglob("*.sql")])
        for place, text in statements(path, STORE)
        if owned.search(text) and "acting_organisation()" not in text
    )
    allowed = {place: SEVERAL.get(place, 1) for place in FOR_ALL}
    assert dict(unscoped) == allowed, "name the organisation, or remove an exception that nothing needs"


# Statements made of tables that serve all organisations: `module.function`, and why.
TABLES_FOR_ALL = {
    "access.keys.find_alive": "authentication: the digest names the key, and the key its organisation",
    "organisations.organisations.find": _PLATFORM,
    "organisations.organisations.by_ids": _PLATFORM,
    "organisations.organisations.lock": _PLATFORM,
    "organisations.organisations.page": _PLATFORM,
    "organisations.organisations.create": _PLATFORM,
    "organisations.organisations._changed": _PLATFORM,
}


def unscoped_functions(path: Path, root: Path) -> set[str]:
    """Return the functions that make a statement of a table without naming the acting organisation."""
    module = place_of(path, root)
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            called = {
                call.func.id
                for call in ast.walk(node)
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
            }
            if called & {"select", "insert", "update", "delete"} and not called & {"own"}:
                found.add(f"{module}.{node.name}")
    return found


def test_every_statement_of_a_table_names_the_organisation() -> None:
    """Or is listed with the reason. `own`, `insert_own` and `update_own` of tables.py name it."""
    modules = [path for path in sorted(STORE.rglob("*.py")) if path.name != "tables.py"]
    found = {place for path in modules for place in unscoped_functions(path, STORE)}
    without_table = {"destinations.destinations._values"}  # calls a function of the database
    assert found - without_table == set(TABLES_FOR_ALL)


def place_of(path: Path, root: Path) -> str:
    """Return the dotted name of a module, or of the module that reads an `.sql` file, below `root`."""
    parts = path.relative_to(root).with_suffix("").parts
    if path.suffix == ".sql" and not path.with_suffix(".py").exists():
        parts = parts[:-1]
    return ".".join(part for part in parts if part != "__init__")


def statements(path: Path, root: Path) -> Iterator[tuple[str, str]]:
    """Yield (place, text) of every string expression of a module below `root`, constants filled in.

    The place of a statement in an `.sql` file has its name.
    """
    module = place_of(path, root)
    if path.suffix == ".sql":
        _, *parts = re.split(r"(?m)^-- name: (\w+)\n", path.read_text())
        for name, text in zip(parts[::2], parts[1::2], strict=True):
            yield f"{module}.{name}", text
        return
    constants: dict[str, str] = {}
    for node in ast.parse(path.read_text()).body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                name, body = node.name, node.body[1:] if ast.get_docstring(node) else node.body
            case ast.Assign(targets=[ast.Name(name)]) | ast.AnnAssign(target=ast.Name(name)):
                body = [node]
                if node.value is not None and (text := text_of(node.value, constants)) is not None:
                    constants[name] = text
            case _:
                continue
        for statement in body:
            for text in _texts(statement, constants):
                yield f"{module}.{name}", text


def _texts(node: ast.AST, constants: Mapping[str, str]) -> Iterator[str]:
    if (text := text_of(node, constants)) is not None:
        yield text
        return
    for child in ast.iter_child_nodes(node):
        yield from _texts(child, constants)


def text_of(node: ast.AST, constants: Mapping[str, str]) -> str | None:
    """Return the text of a string expression, with `…` for what is not known before it runs."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(text_of(value, constants) or "…" for value in values)
        case ast.FormattedValue(value=ast.Name(name)):
            return constants.get(name)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            parts = [
                constants.get(part.id) if isinstance(part, ast.Name) else text_of(part, constants)
                for part in (left, right)
            ]
            return None if parts == [None, None] else "".join(part or "…" for part in parts)
        case _:
            return None
