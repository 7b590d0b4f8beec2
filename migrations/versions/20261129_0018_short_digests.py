"""Shorter digests in the ledger.

Revision ID: 0018
Revises: 0017
"""

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

# 11 bytes of a key and 7 of a content fill the row and the index entry up to Postgres' alignment: with 16 bytes each,
# both are larger by a fifth. Only new generations have short digests. Processes of the previous release write into the
# generations whose partitions exist, which are the newest for at least eleven days. After that the constraint refuses
# their events: accepted, they would not be found again.
UPGRADE = """
DO $$ DECLARE first integer; BEGIN
  SELECT coalesce(max(substr(c.relname, 9)::integer) + 1, 1) INTO first
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'ledger'::regclass;
  -- No search path of its own: Postgres inlines it.
  EXECUTE format('CREATE FUNCTION ledger_digest(digest bytea, bytes integer, generation integer) RETURNS bytea
    LANGUAGE sql IMMUTABLE AS ''SELECT CASE WHEN $3 < %s THEN $1 ELSE substr($1, 1, $2) END''', first);
  EXECUTE format('ALTER TABLE ledger ADD CONSTRAINT digest_of_generation
    CHECK (length(key) = CASE WHEN generation < %s THEN 16 ELSE 11 END) NOT VALID', first);
END $$
"""


def upgrade() -> None:
    op.execute(UPGRADE)


def downgrade() -> None:
    op.execute("""
        DO $$ BEGIN
          IF EXISTS (SELECT FROM ledger WHERE length(key) = 11) THEN
            RAISE EXCEPTION 'the previous release would not find the events of the ledger' USING ERRCODE = 'check_violation';
          END IF; END $$
    """)
    op.execute("ALTER TABLE ledger DROP CONSTRAINT digest_of_generation")
    op.execute("DROP FUNCTION ledger_digest(bytea, integer, integer)")
