"""The figures of the last events of mappings: written by the API, read by the incident monitor."""

from collections.abc import Collection, Mapping

from app.domain.ids import DestinationNumber, MappingNumber
from app.domain.incidents.mapping_problems import SchemaDrift, SuspectAmounts
from app.domain.match_quality.recent_events import Drift, MappingCheck, PathDays
from app.store import PipelineConnection


async def add_to_day(
    connection: PipelineConnection,
    destination: DestinationNumber,
    mapping: MappingNumber,
    paths: Collection[str],
    events: int,
    filled: Mapping[str, int],
    texts: Mapping[str, int],
) -> dict[str, PathDays]:
    """Add events to the day, and return by path what is known of today and yesterday."""
    ordered = sorted(paths)
    rows = await connection.fetch(
        """
        WITH today AS (SELECT (now() AT TIME ZONE 'UTC')::date AS day), added AS (
          -- In order of the paths, so that two processes cannot deadlock.
          INSERT INTO path_days AS p (destination, mapping, day, path, events, filled, texts, others)
          SELECT $1, $2, t.day, x.path, $3, x.filled, x.texts, x.filled - x.texts
          FROM today t, unnest($4::text[], $5::bigint[], $6::bigint[]) AS x (path, filled, texts)
          ORDER BY x.path
          ON CONFLICT (mapping, day, path) DO UPDATE
          SET events = p.events + excluded.events, filled = p.filled + excluded.filled,
            texts = p.texts + excluded.texts, others = p.others + excluded.others
          RETURNING path, events, filled, texts, others
        )
        SELECT path, sum(events)::bigint AS events, sum(filled)::bigint AS filled,
          sum(texts)::bigint AS texts, sum(others)::bigint AS others FROM (
          SELECT * FROM added
          UNION ALL SELECT p.path, p.events, p.filled, p.texts, p.others FROM path_days p, today t
          WHERE p.mapping = $2 AND p.day = t.day - 1) x
        GROUP BY path
        """,
        destination,
        mapping,
        events,
        ordered,
        [filled.get(path, 0) for path in ordered],
        [texts.get(path, 0) for path in ordered],
    )
    return {path: PathDays(*counts) for path, *counts in rows}


async def write_check(
    connection: PipelineConnection,
    destination: DestinationNumber,
    mapping: MappingNumber,
    process: int,
    check: MappingCheck,
    *,
    amount_path: str | None,
    drift: Drift | None,
) -> None:
    """Replace the figures of a mapping as a process saw them."""
    worst = check.worst()
    await connection.execute(
        """
        INSERT INTO mapping_checks (destination, mapping, process, events, purchases, suspect_rule,
          suspect_path, suspects, drift_path, drift_successor, drift_is_text)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
        ON CONFLICT (mapping, process) DO UPDATE
        SET observed_at = now(), events = excluded.events, purchases = excluded.purchases,
          suspect_rule = excluded.suspect_rule, suspect_path = excluded.suspect_path,
          suspects = excluded.suspects, drift_path = excluded.drift_path,
          drift_successor = excluded.drift_successor, drift_is_text = excluded.drift_is_text
        """,
        destination,
        mapping,
        process,
        check.events,
        check.purchases,
        worst[0].value if worst else None,
        amount_path if worst else None,
        worst[1] if worst else 0,
        drift.path if drift else None,
        drift.successor if drift else None,
        drift.is_text if drift else None,
    )


async def forget(connection: PipelineConnection, mappings: Collection[MappingNumber]) -> None:
    """Delete what is too old for these mappings: checks after a day, figures of paths after two."""
    await connection.execute(
        "DELETE FROM mapping_checks WHERE mapping = ANY($1) AND observed_at < now() - interval '1 day'",
        list(mappings),
    )
    await connection.execute(
        "DELETE FROM path_days WHERE mapping = ANY($1) AND day < (now() AT TIME ZONE 'UTC')::date - 2",
        list(mappings),
    )


async def problems(
    connection: PipelineConnection,
) -> tuple[dict[DestinationNumber, SuspectAmounts], dict[DestinationNumber, SchemaDrift]]:
    """Return the greatest problem of each kind of each destination, among its mappings with events of a day.

    A process that ended leaves its figures: they count only while no other process has newer ones.
    """
    rows = await connection.fetch(
        """
        SELECT c.destination, c.mapping, c.events, c.purchases, c.suspect_rule, c.suspect_path, c.suspects,
          c.drift_path, c.drift_successor, c.drift_is_text
        FROM mapping_checks c
        WHERE (c.suspect_rule IS NOT NULL OR c.drift_path IS NOT NULL)
          AND c.observed_at > now() - interval '1 day'
          AND c.observed_at > (SELECT max(o.observed_at) FROM mapping_checks o WHERE o.mapping = c.mapping)
            - interval '1 minute'
        ORDER BY c.suspects DESC, c.events DESC, c.mapping
        """
    )
    suspects: dict[DestinationNumber, SuspectAmounts] = {}
    drifts: dict[DestinationNumber, SchemaDrift] = {}
    for row in rows:
        number, mapping, path = row["destination"], row["mapping"], row["suspect_path"]
        if row["suspect_rule"] is not None:
            amounts = SuspectAmounts(mapping, row["suspect_rule"], path, row["suspects"], row["purchases"])
            suspects.setdefault(number, amounts)
        if row["drift_path"] is not None:
            drifts.setdefault(
                number,
                SchemaDrift(
                    mapping, row["drift_path"], row["drift_successor"], row["events"], row["drift_is_text"]
                ),
            )
    return suspects, drifts
