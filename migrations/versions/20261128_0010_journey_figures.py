"""Count events by journey node and status, by the day on which they were accepted.

Revision ID: 0010
Revises: 0009
"""

import re

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_COLUMNS = ("accepted", "duplicates", "rejected", "retrying", "delivered", "dead", "expired", "erased")

TABLES = f"""
-- The journey nodes of a destination and a day. Callers choose the ids, so a day has at most 1,000 nodes.
CREATE TABLE journey_nodes (
  destination integer NOT NULL,
  day         date NOT NULL,
  number      smallint NOT NULL CHECK (number BETWEEN 1 AND 1000),
  -- '' if an event has no id.
  journey_id  text NOT NULL,
  node_id     text NOT NULL,
  PRIMARY KEY (destination, day, number),
  UNIQUE (destination, day, journey_id, node_id)
);

-- The events of a journey node by their present status. The day is the one on which they were accepted, rejected or
-- answered as duplicates, so accepted = queued + retrying + delivered + dead + expired + erased in each row's sum. Each
-- session adds to rows of its own, so that no session waits for another's commit. The node 1001 counts all nodes of a
-- day after the first 1,000.
CREATE TABLE journey_figures (
  destination integer NOT NULL,
  day         date NOT NULL,
  node        smallint NOT NULL CHECK (node BETWEEN 1 AND 1001),
  writer      integer NOT NULL,
{chr(10).join(f"  {name:11} bigint NOT NULL DEFAULT 0," for name in _COLUMNS)}
  PRIMARY KEY (destination, day, node, writer)
) WITH (fillfactor = 70);
"""

# What each statement changes: the node, its status before (n = -1) and after (n = 1).
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
# With the owner's privileges: those of the roles on new tables are granted after the last migration.
_BEGIN = "CREATE FUNCTION {} RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN"

TRIGGERS = f"""
-- The journey node of each event of a batch, by place. It is negative for an event that left its batch before the batch
-- was sent: only the event's row in `exceptions` counts then. NULL for a batch from before this column.
ALTER TABLE batch_states ADD COLUMN nodes smallint[];

{_BEGIN.format("count_changed_batches()")}
  -- Batches whose events got another status or left the batch.
  WITH changed AS (
    SELECT s.destination, s.day, o.nodes AS nodes_before, s.nodes,
      {_STATUS.format("o")} AS before, {_STATUS.format("s")} AS status
    FROM new_rows s JOIN old_rows o ON o.batch = s.batch AND o.day = s.day
    WHERE s.nodes IS NOT NULL AND (s.disposition IS DISTINCT FROM o.disposition
      OR (s.tries > 0) <> (o.tries > 0) OR s.nodes <> o.nodes)
  ), changes AS (
    SELECT destination, day, node, before AS status, -1 AS n FROM changed, unnest(nodes_before) AS node WHERE node > 0
    UNION ALL
    SELECT destination, day, node, status, 1 FROM changed, unnest(nodes) AS node WHERE node > 0)
{_ADD}
CREATE TRIGGER count_changed AFTER UPDATE ON batch_states REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION count_changed_batches();

{_BEGIN.format("count_new_exceptions()")}
  -- Events that get a row of their own. Unless such an event left its batch, the batch has counted it.
  WITH single AS (
    SELECT s.destination, s.day, s.nodes[e.place + 1] AS node, e.status, {_STATUS.format("s")} AS before
    FROM new_rows e JOIN batch_states s ON s.batch = e.batch AND s.day = e.day
    WHERE s.nodes[e.place + 1] IS NOT NULL
  ), changes AS (
    SELECT destination, day, node, before AS status, -1 AS n FROM single WHERE node > 0
    UNION ALL
    SELECT destination, day, abs(node), status, 1 FROM single)
{_ADD}
CREATE TRIGGER count_new AFTER INSERT ON exceptions REFERENCING NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION count_new_exceptions();

{_BEGIN.format("count_changed_exceptions()")}
  -- Single events that got another status.
  WITH single AS (
    SELECT s.destination, s.day, abs(s.nodes[e.place + 1]) AS node, o.status AS before, e.status
    FROM new_rows e JOIN old_rows o ON o.batch = e.batch AND o.place = e.place AND o.status <> e.status
    JOIN batch_states s ON s.batch = e.batch AND s.day = e.day
    WHERE s.nodes[e.place + 1] IS NOT NULL
  ), changes AS (
    SELECT destination, day, node, before AS status, -1 AS n FROM single
    UNION ALL
    SELECT destination, day, node, status, 1 FROM single)
{_ADD}
CREATE TRIGGER count_changed AFTER UPDATE ON exceptions REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION count_changed_exceptions();
"""

# The counts of rejected events and duplicates so far. A node without both ids was the rest of a day.
MOVE = """
INSERT INTO journey_nodes (destination, day, number, journey_id, node_id)
SELECT destination, day, number, journey_id, node_id FROM (
  SELECT destination, day, journey_id, node_id,
    row_number() OVER (PARTITION BY destination, day ORDER BY sum(rejected + duplicates) DESC) AS number
  FROM journey_counts WHERE journey_id <> '' OR node_id <> '' GROUP BY 1, 2, 3, 4) nodes
WHERE number <= 1000;

INSERT INTO journey_figures (destination, day, node, writer, rejected, duplicates)
SELECT c.destination, c.day, coalesce(n.number, 1001), 0, sum(c.rejected), sum(c.duplicates)
FROM journey_counts c LEFT JOIN journey_nodes n USING (destination, day, journey_id, node_id) GROUP BY 1, 2, 3;

-- The previous release writes this table until its processes are replaced. A later release drops it.
DELETE FROM journey_counts;
"""

POLICIES = """
DO $$ DECLARE name text; BEGIN
  FOREACH name IN ARRAY ARRAY['count_changed_batches()', 'count_new_exceptions()', 'count_changed_exceptions()'] LOOP
    EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', name, current_schema());
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', name);
  END LOOP;
  FOREACH name IN ARRAY ARRAY['journey_nodes', 'journey_figures'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY organisation ON %1$I USING ((SELECT acting_organisation()) = %2$L OR EXISTS ('
      'SELECT FROM destinations p WHERE p.number = %1$I.destination AND p.organisation_id = acting_organisation()))',
      name, '*');
  END LOOP; END $$;
"""

DOWN = """
DELETE FROM journey_counts;
INSERT INTO journey_counts (organisation_id, destination, day, writer, journey_id, node_id, rejected, duplicates)
SELECT d.organisation_id, f.destination, f.day, 0, coalesce(n.journey_id, ''), coalesce(n.node_id, ''),
  sum(f.rejected), sum(f.duplicates)
FROM journey_figures f JOIN destinations d ON d.number = f.destination
LEFT JOIN journey_nodes n ON n.destination = f.destination AND n.day = f.day AND n.number = f.node
GROUP BY 1, 2, 3, 5, 6 HAVING sum(f.rejected) > 0 OR sum(f.duplicates) > 0;
DROP TRIGGER count_changed ON batch_states;
DROP TRIGGER count_new ON exceptions;
DROP TRIGGER count_changed ON exceptions;
DROP FUNCTION count_changed_batches, count_new_exceptions, count_changed_exceptions;
DROP TABLE journey_figures, journey_nodes;
ALTER TABLE batch_states DROP COLUMN nodes;
"""


def _execute(script: str) -> None:
    # A semicolon ends a statement if the next line is not indented, unlike in the body of a function.
    for statement in re.split(r";\n(?=[A-Z\n-])", script):
        if re.sub(r"--.*", "", statement).strip():
            op.execute(statement)


def upgrade() -> None:
    _execute(TABLES)
    _execute(MOVE)
    _execute(TRIGGERS)
    _execute(POLICIES)


def downgrade() -> None:
    _execute(DOWN)
