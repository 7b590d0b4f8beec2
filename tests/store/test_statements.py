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

# Statements that serve all organisations: `module.function` or `module.CONSTANT`, under the reason.
FOR_ALL = {
    "a worker serves the lanes of all organisations; it names lane and destination by number": """
        attempts.any_in_flight attempts.find_outcome attempts.start attempts.start_probe
        attempts.write_delivered attempts.write_outcome batches.postpone due_work._OWED
        due_work._POLL due_work._POLL_TABLES due_work._busy due_work._owed_around_damage
        due_work._poll_around_damage due_work.pace_settings lanes.acquire lanes.block_until
        lanes.hold lanes.record_summary lanes.release lanes.renew
    """,
    "the chain links the rows of all organisations; only its verification reads them all": """
        audit.chain audit.unlinked
    """,
    "a worker logs the newest link of the chain, which holds no row's content": "audit_head.read",
    "a worker compares all counts with all batches": """
        database.balance.destinations database.balance.mapping_ids
    """,
    "ingest serves all organisations; it compares the one of each destination": "destinations.cache.load",
    "one flush stores events of many; each name comes with its organisation": """
        destinations.cache.pin_names destinations.cache.pinned_names
    """,
    "a worker reports final states of destinations that it names by number": """
        callbacks.destinations_of callbacks.events_of_callback callbacks.mappings_of
        callbacks.mark_failed callbacks.note
    """,
    "names the destination by its number, which a scoped statement found": """
        callbacks.read_status events.attempts.attempts
    """,
    "names the destination by its number": "destinations.destinations._COLUMNS",
    "a part of a statement that names the organisation": "destinations.destinations.count_published",
    "each row carries the organisation of its batches": "events.id_digests.add",
    "a worker reads the ids of all organisations' batches": "events.id_digests.unread",
    "a worker scans for all organisations, each erasure in the batches of its own": """
        privacy.erasures.add_found privacy.erasures.advance privacy.erasures.delete_samples
        privacy.erasures.finish privacy.erasures.pending privacy.erasures.read_locked
    """,
    "a worker scans for all organisations; its caller selects them": "privacy.erasures.next_batches",
    "a gauge of the installation, without an organisation": "privacy.erasures.oldest_age_s",
    "names the destination by the number of a scoped statement": "destinations.figures.destination_figures",
    "one flush stores events of many; ingest compared the organisation of each": """
        flush._FUNCTION_SQL flush.read_preconditions
    """,
    "the key that was just authenticated": "access.keys.note_use",
    "maintenance adds up each organisation before it drops a day": "organisations.usage.record_day",
    "the platform asks for an organisation, named by its id": "organisations.usage.by_day",
    "the platform names an organisation by its id": "organisations.organisations.suspend_destinations",
    "maintenance drops whole days": "database.partitions.drop_day",
    "the digest of the cookie names the session, and the session its key": """
        access.sessions.act_for access.sessions.begin access.sessions.delete_expired
        access.sessions.end access.sessions.find access.sessions.note
    """,
    "deletes expired states of all": "destinations.sign_ins.delete_expired",
    "the state is the credential, and names the organisation": "destinations.sign_ins.spend",
    "a worker refreshes the tokens of the destination that it serves, named by its id": """
        destinations.token_leases.acquire destinations.token_leases.confirm_token
        destinations.token_leases.endpoint_found destinations.token_leases.lock_destination
        destinations.token_leases.park destinations.token_leases.read
        destinations.token_leases.record_refusal destinations.token_leases.release
        destinations.token_leases.store_tokens destinations.token_leases.was_refreshed
    """,
    "an API process converts events of all organisations": "match_quality.shadows.running",
    "the monitor watches all organisations; each incident carries its own": """
        destinations.outcome_history.forget destinations.outcome_history.forget_totals
        destinations.outcome_history.record incidents.accepted_findings incidents.current
        incidents.delete_old incidents.facts.forget_intake incidents.facts.intake
        incidents.facts.record_intake incidents.facts.volumes incidents.facts.destinations
        incidents.facts.workers incidents.insert incidents.notifications.channel_failed
        incidents.notifications.channel_succeeded incidents.notifications.claim
        incidents.notifications.declare incidents.notifications.declared
        incidents.notifications.drop_unsent incidents.notifications.enqueue
        incidents.notifications.failing_channels incidents.notifications.finish
        incidents.notifications.forget incidents.notifications.loads
        incidents.notifications.make_waiting_due incidents.notifications.mark_sent
        incidents.notifications.reschedule incidents.notifications.sent incidents.open_by_kind
        incidents.update
    """,
    "an API process shares limits of the organisations it serves": "organisations.usage.exchange_demand",
    "one flush counts rejections of many organisations, by destination": "events.rejections.add",
    "maintenance deletes whole days": "events.rejections.delete_old",
    "maintenance finds every archived destination": "waiting_events.of_archived",
    "gauges of a worker, without a label of an organisation": """
        waiting_events.longest_waits waiting_events.paces waiting_events.read
    """,
}

# How many statements of a function are meant, where it is not one: a new one beside them is judged.
SEVERAL = {"incidents.facts.forget_intake": 2}


def places_in(reasons: Mapping[str, str]) -> list[str]:
    return [place for places in reasons.values() for place in places.split()]


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
    allowed = {place: SEVERAL.get(place, 1) for place in places_in(FOR_ALL)}
    assert dict(unscoped) == allowed, "name the organisation, or remove an exception that nothing needs"


# Statements made of tables that serve all organisations: `module.function`, under the reason.
TABLES_FOR_ALL = {
    "authentication: the digest names the key, and the key its organisation": "access.keys.find_alive",
    "the platform names an organisation by its id": """
        organisations.organisations._changed organisations.organisations.by_ids
        organisations.organisations.create organisations.organisations.find
        organisations.organisations.lock organisations.organisations.page
    """,
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
    assert found - without_table == set(places_in(TABLES_FOR_ALL))


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
