"""Drop the content of a day's batches when no data key can decrypt any of it.

Revision ID: 0012
Revises: 0011
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

# The shapes of batches are read for BATCH_RETENTION_DAYS, their content only while they have a data key. The day's
# partition is replaced by a copy with the shapes and without content. The constraint marks such a partition.
DROP_CONTENT = """
CREATE FUNCTION drop_day_content(day date) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
  stored text := 'batches_p' || to_char(day, 'YYYYMMDD');
  copied text := stored || '_shapes';
BEGIN
  IF day > current_date - 2 OR EXISTS (SELECT FROM batch_states s WHERE s.day = $1 AND s.settled_at IS NULL)
    OR EXISTS (SELECT FROM batch_states s WHERE s.day = $1 AND s.settled_at IS NOT NULL AND s.data_key IS NOT NULL) THEN
    RAISE EXCEPTION 'batches of % can be decrypted', day USING ERRCODE = 'check_violation'; END IF;
  IF EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = to_regclass(stored) AND k.conname = 'without_content') THEN
    RETURN; END IF;
  EXECUTE format('CREATE TABLE %I (LIKE batches INCLUDING ALL, CONSTRAINT without_content CHECK (content = ''''))',
    copied);
  EXECUTE format('INSERT INTO %I SELECT day, id, destination, '''', shapes FROM %I', copied, stored);
  -- From here on everything that reads batches waits.
  EXECUTE format('DROP TABLE %I', stored);
  EXECUTE format('ALTER TABLE %I RENAME TO %I', copied, stored);
  EXECUTE format('ALTER TABLE batches ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', stored, day, day + 1);
  END $$
"""


def upgrade() -> None:
    op.execute(DROP_CONTENT)
    op.execute(
        "DO $$ BEGIN EXECUTE format("
        "'ALTER FUNCTION drop_day_content(date) SET search_path = %I, pg_temp', current_schema()); END $$"
    )
    op.execute("REVOKE ALL ON FUNCTION drop_day_content(date) FROM PUBLIC")


def downgrade() -> None:
    op.execute("DROP FUNCTION drop_day_content(date)")
