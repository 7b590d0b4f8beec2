"""Create partitions as tables of their own and attach them.

Revision ID: 0003
Revises: 0002
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# `CREATE TABLE … PARTITION OF` locks the parent so strongly that it waits for every open transaction that has read the
# table, and all intake and delivery wait behind it. Attaching a table blocks no reader and no writer. The function is
# called by functions with the owner's privileges only.
ATTACH = """
CREATE FUNCTION attach_partition(parent text, name text, bounds text, options text) RETURNS void
  LANGUAGE plpgsql AS $$
BEGIN
  IF to_regclass(name) IS NULL THEN
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL) %s', name, parent, options);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I %s', parent, name, bounds);
  END IF; END $$
"""

BODIES = {
    "create_day_partitions(day date)": """
DECLARE parent text; BEGIN
  IF day NOT BETWEEN current_date - 2 AND current_date + 60 THEN
    RAISE EXCEPTION 'no partition of events is needed for %', day USING ERRCODE = 'check_violation'; END IF;
  FOREACH parent IN ARRAY ARRAY['batches', 'attempts'] LOOP
    {create}
  END LOOP; END""",
    "create_state_partition(first_day date)": """
BEGIN
  IF first_day NOT BETWEEN current_date - 12 AND current_date + 60 OR (first_day - date '1970-01-01') % 10 <> 0 THEN
    RAISE EXCEPTION 'no partition of states begins on %', first_day USING ERRCODE = 'check_violation'; END IF;
  -- A state is updated once or twice. Free space on its page avoids updates of the indexes.
  {create}
  END""",
    "create_ledger_partition(generation integer)": """
BEGIN
  IF generation NOT BETWEEN 1 AND (SELECT max(g.generation) + 1 FROM ledger_generations g) THEN
    RAISE EXCEPTION 'generation % is not due', generation USING ERRCODE = 'check_violation'; END IF;
  {create}
  END""",
}
ATTACHED = (
    """PERFORM attach_partition(parent, parent || '_p' || to_char(day, 'YYYYMMDD'),
      format('FOR VALUES FROM (%L) TO (%L)', day, day + 1), '');""",
    """PERFORM attach_partition('batch_states', 'batch_states_p' || to_char(first_day, 'YYYYMMDD'),
    format('FOR VALUES FROM (%L) TO (%L)', first_day, first_day + 10), 'WITH (fillfactor = 80)');""",
    """PERFORM attach_partition('ledger', 'ledger_g' || generation,
    format('FOR VALUES IN (%s)', generation), '');""",
)
PARTITION_OF = (
    """EXECUTE format('CREATE TABLE IF NOT EXISTS %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
      parent || '_p' || to_char(day, 'YYYYMMDD'), parent, day, day + 1);""",
    """EXECUTE format('CREATE TABLE IF NOT EXISTS %I PARTITION OF batch_states '
    'FOR VALUES FROM (%L) TO (%L) WITH (fillfactor = 80)',
    'batch_states_p' || to_char(first_day, 'YYYYMMDD'), first_day, first_day + 10);""",
    """EXECUTE format('CREATE TABLE IF NOT EXISTS %I PARTITION OF ledger FOR VALUES IN (%s)',
    'ledger_g' || generation, generation);""",
)


def _replace(creates: tuple[str, ...]) -> None:
    # CREATE OR REPLACE resets the search path of a function, so it is set again.
    for (function, body), create in zip(BODIES.items(), creates, strict=True):
        op.execute(
            f"CREATE OR REPLACE FUNCTION {function} RETURNS void LANGUAGE plpgsql SECURITY DEFINER "
            f"AS $${body.replace('{create}', create)} $$"
        )
        name, _, arguments = function.partition("(")
        kind = arguments.rstrip(")").partition(" ")[2]
        _fix_search_path(f"{name}({kind})")


def _fix_search_path(function: str) -> None:
    op.execute(
        "DO $$ BEGIN EXECUTE format("
        f"'ALTER FUNCTION {function} SET search_path = %I, pg_temp', current_schema()); END $$"
    )


def upgrade() -> None:
    op.execute(ATTACH)
    _fix_search_path("attach_partition(text, text, text, text)")
    op.execute("REVOKE ALL ON FUNCTION attach_partition(text, text, text, text) FROM PUBLIC")
    _replace(ATTACHED)


def downgrade() -> None:
    _replace(PARTITION_OF)
    op.execute("DROP FUNCTION attach_partition(text, text, text, text)")
