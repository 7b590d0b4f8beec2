"""Figures of the last events of mappings, repeated Amazon event ids, and shadows of drafts.

Revision ID: 0014
Revises: 0013
"""

import re

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

TABLES = """
-- What the last hundred sampled events of a mapping show, as one process saw them. No value of an event.
CREATE TABLE mapping_checks (
  destination     integer NOT NULL,
  mapping         integer NOT NULL,
  process         bigint NOT NULL,
  observed_at     instant NOT NULL DEFAULT now(),
  events          smallint NOT NULL,
  purchases       smallint NOT NULL,
  -- The rule that most of the purchases meet, the path of the amount, and how many meet it.
  suspect_rule    text,
  suspect_path    text,
  suspects        smallint NOT NULL DEFAULT 0,
  -- A mapped path that the events lack, and an unmapped path that may have its values now.
  drift_path      text,
  drift_successor text,
  PRIMARY KEY (mapping, process)
) WITH (fillfactor = 50);

-- How many sampled events of a day filled each mapped path.
CREATE TABLE path_days (
  destination integer NOT NULL,
  mapping     integer NOT NULL,
  day         date NOT NULL,
  path        text NOT NULL,
  events      bigint NOT NULL,
  filled      bigint NOT NULL,
  PRIMARY KEY (mapping, day, path)
) WITH (fillfactor = 50);

-- Events that were not accepted because an earlier event had their Amazon eventId: kinds of both, no id.
CREATE TABLE repeated_event_ids (
  destination     integer NOT NULL,
  day             date NOT NULL,
  mapping         integer NOT NULL,
  event_type      text NOT NULL,
  earlier_mapping integer NOT NULL,
  earlier_type    text NOT NULL,
  events          bigint NOT NULL,
  PRIMARY KEY (destination, day, mapping, event_type, earlier_mapping, earlier_type)
) WITH (fillfactor = 70);

-- A draft that converts a share of the live events beside the published version and sends nothing.
CREATE TABLE shadows (
  destination    integer PRIMARY KEY,
  mapping        integer NOT NULL,
  document       jsonb NOT NULL,
  share          real NOT NULL CHECK (share > 0 AND share <= 1),
  started_by     text NOT NULL,
  started_at     instant NOT NULL DEFAULT now(),
  ends_at        instant NOT NULL,
  events         bigint NOT NULL DEFAULT 0,
  same           bigint NOT NULL DEFAULT 0,
  different      bigint NOT NULL DEFAULT 0,
  newly_rejected bigint NOT NULL DEFAULT 0,
  newly_accepted bigint NOT NULL DEFAULT 0,
  skipped        bigint NOT NULL DEFAULT 0,
  -- By field the numbers of events that gain it, lose it, and send another value.
  fields         jsonb NOT NULL DEFAULT '{}'
) WITH (fillfactor = 50);
"""

POLICIES = """
DO $$ DECLARE name text; BEGIN
  FOREACH name IN ARRAY ARRAY['mapping_checks', 'path_days', 'repeated_event_ids', 'shadows'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY organisation ON %1$I USING ((SELECT acting_organisation()) = %2$L OR EXISTS ('
      'SELECT FROM destinations p WHERE p.number = %1$I.destination AND p.organisation_id = acting_organisation()))',
      name, '*');
  END LOOP; END $$;
"""


def upgrade() -> None:
    for statement in re.split(r";\n(?=[A-Z\n-])", TABLES):
        if re.sub(r"--.*", "", statement).strip():
            op.execute(statement)
    op.execute(POLICIES)


def downgrade() -> None:
    op.execute("DROP TABLE shadows, repeated_event_ids, path_days, mapping_checks")
