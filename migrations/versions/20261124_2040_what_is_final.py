"""What is final stays so, whoever writes: archived destinations and mappings, published versions.

Revision ID: 0010_what_is_final
Revises: 0009_consent_stops
"""

from alembic import op

revision = "0010_what_is_final"
down_revision = "0009_consent_stops"
branch_labels = None
depends_on = None

# A state follows from facts, and no fact but this one has a way that leads only forward. On tables that
# people change, never on the road.
FUNCTION = """
CREATE FUNCTION stays_as_it_is() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% stays as it is', TG_ARGV[0] USING ERRCODE = 'check_violation';
END $$
"""
ARCHIVED = """
CREATE TRIGGER {table}_archived_for_good BEFORE UPDATE OF archived_at ON {table} FOR EACH ROW
  WHEN (OLD.archived_at IS NOT NULL AND NEW.archived_at IS DISTINCT FROM OLD.archived_at)
  EXECUTE FUNCTION stays_as_it_is('what was archived')
"""
PUBLISHED = """
CREATE TRIGGER mapping_versions_immutable BEFORE UPDATE OR DELETE ON mapping_versions FOR EACH ROW
  EXECUTE FUNCTION stays_as_it_is('a published version')
"""


def upgrade() -> None:
    for statement in (FUNCTION, *(ARCHIVED.format(table=t) for t in ("destinations", "mappings")), PUBLISHED):
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TRIGGER mapping_versions_immutable ON mapping_versions")
    for table in ("mappings", "destinations"):
        op.execute(f"DROP TRIGGER {table}_archived_for_good ON {table}")
    op.execute("DROP FUNCTION stays_as_it_is()")
