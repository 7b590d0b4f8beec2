"""Outlines of recent events; the audit as a chain of hashes; keys that replace keys.

Revision ID: 0004_outlines_and_chain
Revises: 0003_lanes_replay_erasure
"""

from alembic import op

revision = "0004_outlines_and_chain"
down_revision = "0003_lanes_replay_erasure"
branch_labels = None
depends_on = None

OUTLINES = """
-- What kind of value stood at which path of recent events, for each mapping; never a value (ADR 0041). No foreign
-- key: it is written beside the road, and losing a row costs nothing.
CREATE TABLE outlines (
  id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  mapping integer NOT NULL,
  at      instant NOT NULL DEFAULT now(),
  events  integer NOT NULL CHECK (events > 0),
  content bytea NOT NULL
)
"""
OUTLINES_INDEX = "CREATE INDEX outlines_mapping ON outlines (mapping, id)"

KEYS = """
-- The key that this one was made to replace.
ALTER TABLE api_keys ADD COLUMN replaces text
"""

CHAIN = """
-- Each row names the hash of the row before it, so that a change in one breaks the chain there (ADR 0042).
ALTER TABLE audit ADD COLUMN link bigint, ADD COLUMN prev_hash bytea, ADD COLUMN hash bytea
"""

WORDS = """
-- A row as the chain hashes it: each member with its length before it, so that no two rows read alike.
CREATE FUNCTION audit_words(audit) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT string_agg(coalesce(octet_length(word) || ':' || word, '-'), '' ORDER BY place)
  FROM unnest(ARRAY[
    $1.link::text, $1.id::text, to_char($1.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'),
    $1.actor, $1.act, $1.subject, $1.destination, $1.before::text, $1.after::text
  ]) WITH ORDINALITY AS members (word, place)
$$
"""

SEAL = """
-- Links are made as transactions commit, not as rows are written: the order of the links is the order in which acts
-- became true, and nobody waits for the lock while he still wants others.
CREATE FUNCTION audit_seal() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  last audit;
  sealed audit;
BEGIN
  PERFORM pg_advisory_xact_lock(7305);
  SELECT * INTO last FROM audit WHERE link IS NOT NULL ORDER BY link DESC LIMIT 1;
  SELECT * INTO sealed FROM audit WHERE id = NEW.id;
  sealed.link := coalesce(last.link, 0) + 1;
  sealed.prev_hash := coalesce(last.hash, decode(repeat('00', 32), 'hex'));
  UPDATE audit SET link = sealed.link, prev_hash = sealed.prev_hash,
    hash = sha256(sealed.prev_hash || convert_to(audit_words(sealed), 'UTF8'))
  WHERE id = NEW.id;
  RETURN NULL;
END
$$
"""

BACKFILL = """
-- Rows from before the chain get their links in the order of their ids.
DO $$
DECLARE
  row audit;
  previous bytea := decode(repeat('00', 32), 'hex');
  number bigint := 0;
BEGIN
  FOR row IN SELECT * FROM audit ORDER BY id LOOP
    number := number + 1;
    row.link := number;
    UPDATE audit SET link = number, prev_hash = previous,
      hash = sha256(previous || convert_to(audit_words(row), 'UTF8'))
    WHERE id = row.id RETURNING hash INTO previous;
  END LOOP;
END
$$
"""

LINKS = """
-- One row an administrative act: made in a moment.
-- squawk-ignore require-concurrent-index-creation
CREATE UNIQUE INDEX audit_link ON audit (link)
"""

TRIGGER = """
CREATE CONSTRAINT TRIGGER audit_sealed AFTER INSERT ON audit
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit_seal()
"""

DOWN = (
    "DROP TRIGGER audit_sealed ON audit",
    "DROP FUNCTION audit_seal()",
    "DROP FUNCTION audit_words(audit)",
    "ALTER TABLE audit DROP COLUMN link, DROP COLUMN prev_hash, DROP COLUMN hash",
    "ALTER TABLE api_keys DROP COLUMN replaces",
    "DROP TABLE outlines",
)


def upgrade() -> None:
    for statement in (OUTLINES, OUTLINES_INDEX, KEYS, CHAIN, WORDS, SEAL, BACKFILL, LINKS, TRIGGER):
        op.execute(statement)


def downgrade() -> None:
    for statement in DOWN:
        op.execute(statement)
