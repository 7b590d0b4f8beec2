"""Store the journey node of a batch once if all its events have the same one.

Revision ID: 0013
Revises: 0012
"""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

COMMENT = """
COMMENT ON COLUMN batch_states.nodes IS 'The number of each event''s journey node, by place, or one number for all '
  'events of the batch. Negative for an event that left its batch before the batch was sent.'
"""

# What each statement changes: the node, its status before (n < 0) and after (n > 0).
_ADD = """
  INSERT INTO journey_figures AS f (destination, day, node, writer, retrying, delivered, dead, expired, erased)
  SELECT destination, day, node, pg_backend_pid(),
    coalesce(sum(n) FILTER (WHERE status = 'retrying'), 0), coalesce(sum(n) FILTER (WHERE status = 'delivered'), 0),
    coalesce(sum(n) FILTER (WHERE status = 'dead'), 0), coalesce(sum(n) FILTER (WHERE status = 'expired'), 0),
    coalesce(sum(n) FILTER (WHERE status = 'erased'), 0)
  FROM changes GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
  ON CONFLICT (destination, day, node, writer) DO UPDATE SET
    retrying = f.retrying + excluded.retrying, delivered = f.delivered + excluded.delivered,
    dead = f.dead + excluded.dead, expired = f.expired + excluded.expired, erased = f.erased + excluded.erased;
  RETURN NULL; END $$;
"""
_STATUS = """CASE {0}.disposition WHEN 'sent' THEN 'delivered' WHEN 'discarded' THEN 'dead' WHEN 'expired' THEN 'expired'
      ELSE CASE WHEN {0}.tries > 0 THEN 'retrying' ELSE 'queued' END END"""


def _functions(*, weight: str, node: str) -> list[str]:
    """Return the functions of the triggers.

    `weight` is the number of events of a member of `{0}nodes`, and `node` the node of the event `e.place`.
    """
    # As in 0010: with the owner's privileges. The replacement would reset that and the search path.
    begin = "CREATE OR REPLACE FUNCTION {} RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN"
    return [
        f"""
{begin.format("count_changed_batches()")}
  -- Batches whose events got another status or left the batch.
  WITH changed AS (
    SELECT s.destination, s.day, o.nodes AS nodes_before, s.nodes, o.events AS events_before, s.events,
      {_STATUS.format("o")} AS before, {_STATUS.format("s")} AS status
    FROM new_rows s JOIN old_rows o ON o.batch = s.batch AND o.day = s.day
    WHERE s.nodes IS NOT NULL AND (s.disposition IS DISTINCT FROM o.disposition
      OR (s.tries > 0) <> (o.tries > 0) OR s.nodes <> o.nodes)
  ), changes AS (
    SELECT destination, day, node, before AS status, -({weight.format("_before")}) AS n
    FROM changed, unnest(nodes_before) AS node WHERE node > 0
    UNION ALL
    SELECT destination, day, node, status, {weight.format("")} FROM changed, unnest(nodes) AS node WHERE node > 0)
{_ADD}""",
        f"""
{begin.format("count_new_exceptions()")}
  -- Events that get a row of their own. Unless such an event left its batch, the batch has counted it.
  WITH single AS (
    SELECT s.destination, s.day, {node} AS node, e.status, {_STATUS.format("s")} AS before
    FROM new_rows e JOIN batch_states s ON s.batch = e.batch AND s.day = e.day
    WHERE {node} IS NOT NULL
  ), changes AS (
    SELECT destination, day, node, before AS status, -1 AS n FROM single WHERE node > 0
    UNION ALL
    SELECT destination, day, abs(node), status, 1 FROM single)
{_ADD}""",
        f"""
{begin.format("count_changed_exceptions()")}
  -- Single events that got another status.
  WITH single AS (
    SELECT s.destination, s.day, abs({node}) AS node, o.status AS before, e.status
    FROM new_rows e JOIN old_rows o ON o.batch = e.batch AND o.place = e.place AND o.status <> e.status
    JOIN batch_states s ON s.batch = e.batch AND s.day = e.day
    WHERE {node} IS NOT NULL
  ), changes AS (
    SELECT destination, day, node, before AS status, -1 AS n FROM single
    UNION ALL
    SELECT destination, day, node, status, 1 FROM single)
{_ADD}""",
    ]


# The previous release still writes a member for each event, and both forms are counted.
NEW = _functions(
    weight="CASE WHEN cardinality(nodes{0}) = 1 THEN events{0} ELSE 1 END",
    node="s.nodes[least(e.place + 1, cardinality(s.nodes))]",
)
OLD = _functions(weight="1", node="s.nodes[e.place + 1]")
SEARCH_PATHS = """
DO $$ DECLARE name text; BEGIN
  FOREACH name IN ARRAY ARRAY['count_changed_batches()', 'count_new_exceptions()', 'count_changed_exceptions()'] LOOP
    EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', name, current_schema());
  END LOOP; END $$
"""
EXPAND = """
UPDATE batch_states SET nodes = array_fill(nodes[1], ARRAY[events::integer]) WHERE cardinality(nodes) = 1 AND events > 1
"""


def upgrade() -> None:
    for statement in (*NEW, SEARCH_PATHS, COMMENT):
        op.execute(statement)


def downgrade() -> None:
    # The triggers count the same before and after, because both forms mean the same to them.
    for statement in (EXPAND, *OLD, SEARCH_PATHS, "COMMENT ON COLUMN batch_states.nodes IS NULL"):
        op.execute(statement)
