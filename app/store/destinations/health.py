"""List the destinations of an organisation with their condition, and count them by condition."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from app.domain.ids import AdvertiserId, DestinationId, DestinationNumber
from app.domain.incidents import health as rules
from app.domain.incidents.health import Condition, Fact
from app.domain.incidents.kinds import Severity
from app.store import PipelineConnection, read_json, read_row, transposed
from app.store.destinations import outcome_history


class Sort(StrEnum):
    """The order of a page of destinations."""

    TROUBLE = "trouble"
    NAME = "name"
    BACKLOG = "backlog"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class PageQuery:
    """The filter and order of a page of destinations.

    The orders `delivered` and `failed` count the outcomes since `since`. At this time a bucket of `width`
    begins. `only` limits the page and the counts to these ids.
    """

    since: datetime
    width: timedelta
    limit: int
    offset: int = 0
    search: str | None = None
    condition: Condition | None = None
    sort: Sort = Sort.TROUBLE
    only: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class ListedDestination:
    """One destination of a page. `severity` is the highest severity of its incidents that still last.

    For a stalled destination, `outcome` and `http_status` are those of its newest request.
    """

    number: DestinationNumber
    id: DestinationId
    name: str
    advertiser_id: AdvertiserId
    region: str
    state: str
    suspended: bool
    sign_in_reason: str | None
    condition: Condition
    severity: Severity | None
    open_incidents: int
    oldest_waiting_seconds: float | None
    outcome: str | None = None
    http_status: int | None = None


@dataclass(frozen=True, slots=True)
class DestinationListing:
    """A page of destinations, the number of all matches, and the number of destinations by condition."""

    items: tuple[ListedDestination, ...]
    matching: int
    conditions: Mapping[Condition, int]


_TODAY: Final = "(now() AT TIME ZONE 'UTC')::date"


def _has_request(condition: str) -> str:
    """Return SQL that is true if a destination has a recent request that meets `condition`, else NULL.

    EXISTS is not used, because Postgres would plan it as a scan of all requests of the day.
    """
    return f"""(SELECT true FROM attempts a WHERE a.destination = d.number
        AND a.day BETWEEN {_TODAY} - 1 AND {_TODAY}
        AND a.started_at > now() - interval '2 minutes' AND ({condition}) LIMIT 1)"""


# Without waiting events the first comparison is NULL. IS TRUE makes it false, so that Postgres skips the
# index probes for most destinations.
_STALLS: Final = f"""
    (b.age > {rules.STALLED_WITH_FAILURES_AFTER.total_seconds()}) IS TRUE
    AND {_has_request("a.settled_at > now() - interval '20 seconds' AND a.delivered > 0")} IS NULL
    AND (b.age > {rules.STALLED_AFTER.total_seconds()} OR {
    _has_request(
        "a.settled_at IS NULL "
        f"AND a.started_at < now() - interval '{rules.UNANSWERED_AFTER.total_seconds()} s' "
        "OR a.settled_at > now() - interval '75 seconds' AND a.outcome NOT IN ('answered', 'not_sent')"
    )
})
"""
# The SQL of each fact. `d`, `t` and `b` are the tables of the CTE `classified` below.
FACTS: Final[Mapping[Fact, str]] = {
    Fact.ANYTHING: "true",
    Fact.ARCHIVED: "d.archived_at IS NOT NULL",
    Fact.SIGN_IN_LOST: "d.state = 'needs_reconnect'",
    Fact.CRITICAL: "t.severity = 2",
    Fact.WARNING: "t.severity = 1",
    Fact.PAUSED: "d.state = 'paused'",
    Fact.STALLED: f"d.state = 'active' AND {_STALLS}",
    Fact.OPEN_INCIDENT: "t.destination IS NOT NULL",
    Fact.NOT_ACTIVE: "d.state <> 'active'",
    # Today's count comes first, because it is cheap to read and usually decides.
    Fact.RECENT_EVENT: """EXISTS (SELECT FROM counts c WHERE c.destination = d.number
          AND c.accepted + c.duplicates + c.rejected > 0
          AND c.day = (now() AT TIME ZONE 'UTC')::date)
        OR EXISTS (SELECT FROM outcome_history h WHERE h.organisation_id = acting_organisation()
          AND h.destination = d.number AND h.bucket_seconds = 900
          AND h.accepted + h.duplicates + h.rejected > 0
          AND h.at > now() - $2::interval)""",
}


def condition_sql(facts: Mapping[Fact, str]) -> str:
    """Return the SQL expression for the condition of a destination, given the SQL of each fact."""
    cases = (f"WHEN {facts[fact]} THEN '{condition}'" for fact, condition in rules.RULES)
    return f"CASE {' '.join(cases)} END"


# Whether the condition of an incident `i` of the destination `d` still lasts. It lasts if the monitor found
# it at most $1 before its last run. An incident of the sign-in ends as soon as the destination
# is reconnected.
_HOLDS: Final = """(
  coalesce(i.last_seen_at > (SELECT max(at) FROM commit_probes) - $1::interval, true)
    AND (i.kind NOT IN ('sign_in_lost', 'amazon_forbidden') OR d.sign_in_reason IS NOT NULL))"""
_CLASSIFIED: Final = f"""
    WITH trouble AS (
      -- Open incidents.
      SELECT i.destination, count(*) AS open_incidents,
        max(CASE i.severity WHEN 'critical' THEN 2 WHEN 'warning' THEN 1 END) FILTER (
          WHERE {_HOLDS}) AS severity
      FROM incidents i JOIN destinations d ON d.id = i.destination
      WHERE i.organisation_id = acting_organisation() AND i.destination IS NOT NULL AND i.severity <> 'info'
        AND i.state <> 'resolved'
      GROUP BY i.destination
    ), backlog AS MATERIALIZED (
      -- The monitor records ages every 15 seconds. A destination without backlog and traffic gets no new row.
      SELECT destination, (array_agg(oldest_waiting_seconds ORDER BY at DESC))[1] AS age
      FROM outcome_history
      WHERE organisation_id = acting_organisation() AND bucket_seconds = 60
        AND at > now() - interval '75 seconds'
      GROUP BY destination
    ), classified AS MATERIALIZED (
      -- Every destination of the organisation, with its condition.
      SELECT d.number, d.id, d.name, d.advertiser_id, d.region, d.state, d.suspended, d.sign_in_reason,
        t.severity, coalesce(t.open_incidents, 0) AS open_incidents, b.age AS oldest_waiting_seconds,
        {condition_sql(FACTS)} AS condition
      FROM destinations d LEFT JOIN trouble t ON t.destination = d.id
      LEFT JOIN backlog b ON b.destination = d.number
      WHERE d.organisation_id = acting_organisation() AND ($3::text[] IS NULL OR d.id = ANY ($3))
    )
"""
_MATCHES: Final = """
    -- strpos, not LIKE: in a search, % and _ are not patterns.
    ($4::text IS NULL OR strpos(lower(c.name), lower($4)) > 0
      OR strpos(lower(c.advertiser_id), lower($4)) > 0 OR c.id = $4)
    AND CASE WHEN $5::text IS NULL THEN c.condition <> 'deleted' ELSE c.condition = $5 END
"""
# Orders by severity: critical, warning, stalled, recovering, paused, the rest.
_BY_TROUBLE: Final = """
    CASE c.condition WHEN 'needs_attention' THEN CASE WHEN c.state = 'needs_reconnect' THEN 2
        ELSE c.severity END + 10
      WHEN 'stalled' THEN 4 WHEN 'recovering' THEN 3 WHEN 'paused' THEN 2 WHEN 'deleted' THEN 0
      ELSE 1 END DESC
"""
_FIGURES: Final = """
    LEFT JOIN (
      SELECT h.destination, sum(h.delivered) AS delivered, sum(h.failed) AS failed
      FROM unnest($8::interval[], $9::timestamptz[], $10::timestamptz[]) AS part (width, since, until)
      -- LATERAL, because a plain join would scan the complete history.
      CROSS JOIN LATERAL (
        SELECT destination, sum(delivered) AS delivered, sum(dead + expired) AS failed FROM outcome_history
        WHERE organisation_id = acting_organisation() AND bucket_seconds = extract(epoch FROM part.width)::int
          AND at >= part.since AND at < coalesce(part.until, 'infinity') GROUP BY destination) h
      GROUP BY h.destination) figures
      ON figures.destination = c.number
"""
_ORDERS: Final[Mapping[Sort, str]] = {
    # Ages below a minute are ignored: they change constantly and would reorder healthy destinations.
    Sort.TROUBLE: f"{_BY_TROUBLE}, CASE WHEN c.oldest_waiting_seconds > 60 THEN c.oldest_waiting_seconds END "
    "DESC NULLS LAST, lower(c.name)",
    Sort.NAME: "lower(c.name)",
    Sort.BACKLOG: f"c.oldest_waiting_seconds DESC NULLS LAST, {_BY_TROUBLE}, lower(c.name)",
    Sort.DELIVERED: "figures.delivered DESC NULLS LAST, lower(c.name)",
    Sort.FAILED: f"figures.failed DESC NULLS LAST, {_BY_TROUBLE}, lower(c.name)",
}
_BY_FIGURES: Final = frozenset({Sort.DELIVERED, Sort.FAILED})


def _statement(sort: Sort) -> str:
    figures = _FIGURES if sort in _BY_FIGURES else ""
    return f"""
        {_CLASSIFIED}, listed AS (
          SELECT c.*, row_number() OVER (ORDER BY {_ORDERS[sort]}, c.number) AS place
          FROM classified c {figures} WHERE {_MATCHES}
          ORDER BY place LIMIT $6 OFFSET $7)
        SELECT (SELECT json_object_agg(condition, n)::text FROM (
            SELECT condition, count(*) AS n FROM classified GROUP BY condition) x) AS conditions,
          (SELECT count(*) FROM classified c WHERE {_MATCHES}) AS matching, listed.*, newest.*
        -- LEFT JOIN: an empty page has one row, with the counts only.
        FROM (SELECT 1) one LEFT JOIN listed ON true LEFT JOIN LATERAL (
          SELECT coalesce(a.outcome, 'under_way') AS outcome, a.http_status FROM attempts a
          WHERE listed.condition = 'stalled' AND a.destination = listed.number
            AND a.day BETWEEN {_TODAY} - 1 AND {_TODAY} AND a.outcome IS DISTINCT FROM 'not_sent'
          ORDER BY a.started_at DESC LIMIT 1) newest ON true
        ORDER BY listed.place
    """


async def page(connection: PipelineConnection, query: PageQuery) -> DestinationListing:
    """Return a page of destinations and the counts. Deleted destinations are listed only on request."""
    figures: list[Any] = []
    if query.sort in _BY_FIGURES:
        figures = transposed(outcome_history.widest_buckets(query.since, query.width), 3)
    matching = (query.only, query.search, query.condition, query.limit, query.offset)
    arguments = (rules.HOLDS_FOR, rules.IDLE_AFTER, *matching, *figures)
    rows = await connection.fetch(_statement(query.sort), *arguments)
    conditions = read_json(rows[0]["conditions"] or "{}")
    return DestinationListing(
        items=tuple(_listed(row) for row in rows if row["number"] is not None),
        matching=rows[0]["matching"],
        conditions={condition: conditions.get(condition, 0) for condition in Condition},
    )


def _listed(row: Any) -> ListedDestination:
    severities = {2: Severity.CRITICAL, 1: Severity.WARNING}
    return read_row(ListedDestination, row, severity=severities.get(row["severity"]))
