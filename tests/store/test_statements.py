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
_SCAN = "a worker scans for all organisations, each erasure in the batches of its own"
FOR_ALL = {
    "attempts._IS_ACTIVE": _LANE,
    "attempts._IS_PROBED": _LANE,
    "attempts._START": _LANE,
    "attempts.any_in_flight": _LANE,
    "attempts.settle": _LANE,
    "audit._LINKS": "the chain links the rows of all organisations; only its verification reads them all",
    "audit.chain": "see audit._LINKS",
    "audit.unlinked": "see audit._LINKS",
    "audit_head.read": "a worker logs the newest link of the chain, which holds no row's content",
    "balance.destinations": _BALANCE,
    "balance.mapping_ids": _BALANCE,
    "cached_destinations.load": "ingest serves all organisations; it compares the one of each destination",
    "cached_destinations.pin_names": "one flush stores events of many; each name comes with its organisation",
    "cached_destinations.pinned_names": "see cached_destinations.pin_names",
    "callbacks.note": _REPORTS,
    "callbacks.mark_failed": _REPORTS,
    "callbacks.names": _REPORTS,
    "callbacks.read_status": "names the destination by its number, which a scoped statement found",
    "destinations._COLUMNS": "a part of statements that name the organisation",
    "destinations.count_published": "a part of a statement that names the organisation",
    "deliveries._SETTLE": _LANE,
    "due_heads.POLL_TABLES": _LANE,
    "due_heads.owed_around_damage": _LANE,
    "due_heads.poll_around_damage": _LANE,
    "erasures.delete_samples": _SCAN,
    "erasures.pending": _SCAN,
    "erasures.advance": _SCAN,
    "erasures.add_found": _SCAN,
    "erasures.finish": _SCAN,
    "erasures.lock": _SCAN,
    "event_attempts.ATTEMPTS": "names the destination by its number, which a scoped statement found",
    "event_history._FIGURES": "names the destination by its number, which a scoped statement found",
    "flush._FUNCTION_SQL": "one flush stores events of many; ingest compared the organisation of each",
    "flush.read_preconditions": "see flush._FUNCTION_SQL",
    "keys.find_alive": "authentication: the digest of the secret names the key, and the key its organisation",
    "keys.note_use": "the key that was just authenticated",
    "lanes._OWED": _LANE,
    "lanes._busy": _LANE,
    "lanes.acquire": _LANE,
    "lanes.block_until": _LANE,
    "lanes.is_owned": _LANE,
    "lanes.pace_settings": _LANE,
    "lanes.record_state": _LANE,
    "lanes.release": _LANE,
    "lanes.renew": _LANE,
    "oauth_states.begin": "deletes expired states of all",
    "oauth_states.spend": "the callback has no key: its state is the credential and names the organisation",
    "organisation_usage._REQUESTS": "a part of statements that name the organisation by its id",
    "organisation_usage._BYTES": "a part of statements that name the organisation by its id",
    "organisation_usage.record_day": "maintenance adds up each organisation before it drops a day",
    "organisation_usage.by_day": "the platform asks for an organisation, named by its id",
    "organisations.set_suspended": "the platform suspends an organisation, named by its id",
    "partitions.drop_day": "maintenance drops whole days",
    "replays.lane_of": "names the destination by its number, which a scoped statement found",
    "schema_samples._CLOSE": "names the destination by its number, or with the organisation",
    "sessions._SESSIONS": "a part of statements that name the session or the organisation",
    "sessions.act_for": _SESSION,
    "sessions.begin": _SESSION,
    "sessions.find": _SESSION,
    "sessions.end": _SESSION,
    "token_leases.read": _TOKENS,
    "token_leases.acquire": _TOKENS,
    "token_leases.release": _TOKENS,
    "token_leases.store_tokens": _TOKENS,
    "token_leases.record_refusal": _TOKENS,
    "token_leases.confirm_token": _TOKENS,
    "token_leases.park": _TOKENS,
    "token_leases.endpoint_found": _TOKENS,
    "incident_facts.watched": _MONITOR,
    "incident_facts.workers": _MONITOR,
    "intake_facts.record_intake": _MONITOR,
    "intake_facts.forget_intake": _MONITOR,
    "intake_facts.intake": _MONITOR,
    "intake_facts.volumes": _MONITOR,
    "incidents._FROM": _MONITOR,
    "incidents.current": _MONITOR,
    "incidents.insert": _MONITOR,
    "incidents.update": _MONITOR,
    "incidents.delete_old": _MONITOR,
    "incidents.open_by_kind": _MONITOR,
    "notifications.sent": _MONITOR,
    "notifications.mark_sent": _MONITOR,
    "notifications.loads": _MONITOR,
    "notifications.enqueue": _MONITOR,
    "notifications.drop_unsent": _MONITOR,
    "notifications.declare": _MONITOR,
    "notifications.declared": _MONITOR,
    "notifications.claim": _MONITOR,
    "notifications.finish": _MONITOR,
    "notifications.reschedule": _MONITOR,
    "notifications.forget": _MONITOR,
    "notifications.channel_succeeded": _MONITOR,
    "notifications.channel_failed": _MONITOR,
    "notifications.failing_channels": _MONITOR,
    "inbound_demand.exchange": "an API process shares limits of organisations that send to it, by their ids",
    "rejection_records.add": "one flush counts rejections of many organisations, by destination",
    "outcome_history._RECORD": _MONITOR,
    "outcome_history.forget": _MONITOR,
    "rejection_records.delete_old": "maintenance deletes whole days",
    "waiting_events.read": "gauges of a worker, without a label of an organisation",
    "waiting_events.paces": "gauges of a worker, without a label of an organisation",
    "waiting_events.longest_waits": "gauges of a worker, without a label of an organisation",
}

# How many statements of a function are meant, where it is not one: a new one beside them is judged.
SEVERAL = {
    "attempts.settle": 2,
    "callbacks.names": 2,
    "intake_facts.forget_intake": 2,
    "notifications.channel_succeeded": 2,
    "outcome_history.forget": 2,
    "sessions.begin": 2,
    "sessions.find": 2,
}


async def test_every_statement_names_the_organisation(database_url: str) -> None:
    """Or is listed with the reason why it serves all of them."""
    connection = await asyncpg.connect(database_url.replace("+asyncpg", ""))
    try:
        rows = await connection.fetch(
            "SELECT table_name FROM information_schema.columns "
            "WHERE table_schema = 'public' AND column_name = 'organisation_id'"
        )
    finally:
        await connection.close()
    owned = re.compile(rf"\b(?:FROM|JOIN|INTO|UPDATE)\s+({'|'.join(row['table_name'] for row in rows)})\b")
    unscoped = Counter(
        place
        for path in sorted(STORE.glob("*.py"))
        for place, text in statements(path)
        if owned.search(text) and "acting_organisation()" not in text
    )
    allowed = {place: SEVERAL.get(place, 1) for place in FOR_ALL}
    assert dict(unscoped) == allowed, "name the organisation, or remove an exception that nothing needs"


def test_a_statement_without_its_organisation_is_found(tmp_path: Path) -> None:
    """In each way in which the store writes SQL."""
    module = tmp_path / "module.py"
    module.write_text(
        'A = "SELECT 1 FROM mappings "\n'
        "async def f(c):\n"
        '    """FROM mappings: a docstring."""\n'
        '    await c.execute(text(A + "WHERE id = :id"))\n'
        '    await c.fetch(f"SELECT {x} " f"FROM mappings WHERE id = {\'y\'}")\n'
    )
    texts = list(statements(module))
    assert [place for place, _ in texts] == ["module.A", "module.f", "module.f"]
    assert "FROM mappings WHERE id = :id" in texts[1][1]
    assert "FROM mappings WHERE id = " in texts[2][1]


def statements(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (place, text) of every string expression of a module, constants filled in."""
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
                yield f"{path.stem}.{name}", text


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
