"""A lane belongs to one organisation.

Organisations with the same advertiser shared a lane, so that the rate limit, a 429 or the circuit breaker of one delayed
the others. Each now has a lane of its own.

Revision ID: 0005
Revises: 0004
"""

import re

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

UP = r"""
-- Both at once, so that no transaction waits for one of them while this one waits for the other.
LOCK TABLE destinations, lanes IN ACCESS EXCLUSIVE MODE;
ALTER TABLE lanes ADD COLUMN organisation_id text NOT NULL DEFAULT 'default';
ALTER TABLE lanes DROP CONSTRAINT lanes_region_advertiser_id_key;
ALTER TABLE destinations DROP CONSTRAINT destinations_lane_fkey;
DELETE FROM lanes l WHERE NOT EXISTS (SELECT FROM destinations d WHERE d.lane = l.id);
UPDATE lanes SET organisation_id = (SELECT min(d.organisation_id) FROM destinations d WHERE d.lane = lanes.id);

-- A worker of the release before may own a lane that is divided here. The new fence ends its ownership, so it writes no
-- more results and starts no more requests. The next owners settle the attempts below as those of a worker that ended.
UPDATE lanes l SET fence = fence + 1 WHERE EXISTS (
  SELECT FROM destinations d WHERE d.lane = l.id AND d.organisation_id <> l.organisation_id);
INSERT INTO lanes (organisation_id, region, advertiser_id, fence, erasures, blocked_until, learned_rate)
  SELECT DISTINCT d.organisation_id, l.region, l.advertiser_id, l.fence, l.erasures, l.blocked_until, l.learned_rate
  FROM destinations d JOIN lanes l ON l.id = d.lane WHERE d.organisation_id <> l.organisation_id;
UPDATE destinations d SET lane = own.id FROM lanes l, lanes own WHERE l.id = d.lane
  AND d.organisation_id <> l.organisation_id AND own.organisation_id = d.organisation_id
  AND own.region = l.region AND own.advertiser_id = l.advertiser_id;
UPDATE attempts a SET lane = d.lane FROM destinations d WHERE d.number = a.destination AND d.lane <> a.lane
  AND a.settled_at IS NULL;

-- The table has one row per advertiser, region and organisation, so its indexes are built within milliseconds.
-- The last key: FOR KEY SHARE keeps these columns unchanged, and the owner can renew its lease meanwhile.
-- squawk-ignore disallowed-unique-constraint, constraint-missing-not-valid
ALTER TABLE lanes ADD UNIQUE (region, advertiser_id, organisation_id), ADD UNIQUE (organisation_id, id), ADD UNIQUE (id, fence, erasures);
-- No destination is in a lane of another organisation.
-- squawk-ignore adding-foreign-key-constraint, constraint-missing-not-valid
ALTER TABLE destinations ADD FOREIGN KEY (organisation_id, lane) REFERENCES lanes (organisation_id, id);

DROP POLICY organisation ON lanes;
CREATE POLICY organisation ON lanes
  USING (organisation_id = acting_organisation() OR acting_organisation() = '*');

-- Returns the organisation's lane for an advertiser, and creates it if there is none. The function reads first, because
-- every upsert would use up an identity value. FOR KEY SHARE: the lane is not deleted before the caller uses it.
CREATE OR REPLACE FUNCTION lane_of(region text, advertiser text) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE lane integer; BEGIN
  LOOP  -- another transaction may create or delete the lane meanwhile
    SELECT l.id INTO lane FROM lanes l WHERE l.region = $1 AND l.advertiser_id = $2
      AND l.organisation_id = acting_organisation() FOR KEY SHARE;
    IF lane IS NULL THEN
      INSERT INTO lanes AS l (organisation_id, region, advertiser_id) VALUES (acting_organisation(), $1, $2)
        ON CONFLICT DO NOTHING RETURNING l.id INTO lane;
    END IF;
    EXIT WHEN lane IS NOT NULL;
  END LOOP;
  RETURN lane; END $$;

-- A destination without events may get another advertiser. The lane that it leaves is deleted if it is empty.
CREATE FUNCTION delete_empty_lane() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
  DELETE FROM lanes WHERE id = (
    -- SKIP LOCKED: a destination is about to use the lane. An empty lane that stays does no harm.
    SELECT l.id FROM lanes l WHERE l.id = OLD.lane AND NOT EXISTS (SELECT FROM destinations d WHERE d.lane = l.id)
    FOR UPDATE SKIP LOCKED);
  RETURN NULL; END $$;
CREATE TRIGGER destinations_leave_lane AFTER UPDATE OF lane ON destinations FOR EACH ROW
  WHEN (OLD.lane <> NEW.lane) EXECUTE FUNCTION delete_empty_lane();

-- Whether another organisation uses the advertiser of a destination in the same region too. A destination uses it from
-- its first sign-in at Amazon on.
CREATE FUNCTION is_shared_account(destination integer) RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER AS $$
  SELECT EXISTS (SELECT FROM destinations own
    JOIN lanes l ON l.region = own.region AND l.advertiser_id = own.advertiser_id
      AND l.organisation_id <> own.organisation_id
    JOIN destinations other ON other.lane = l.id AND other.sign_in <> 'none' AND other.archived_at IS NULL
    WHERE own.number = $1 AND own.organisation_id = acting_organisation() AND own.sign_in <> 'none') $$;

DO $$
DECLARE name text; BEGIN
  FOREACH name IN ARRAY ARRAY['lane_of(text, text)', 'delete_empty_lane()', 'is_shared_account(integer)'] LOOP
    EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', name, current_schema());
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', name);
  END LOOP; END $$;
"""

DOWN = r"""
DROP TRIGGER destinations_leave_lane ON destinations;
DROP FUNCTION delete_empty_lane, is_shared_account;
ALTER TABLE destinations DROP CONSTRAINT destinations_organisation_id_lane_fkey;
ALTER TABLE lanes DROP CONSTRAINT lanes_region_advertiser_id_organisation_id_key;
ALTER TABLE lanes DROP CONSTRAINT lanes_organisation_id_id_key;
ALTER TABLE lanes DROP CONSTRAINT lanes_id_fence_erasures_key;
-- The oldest lane of each advertiser and region stays.
UPDATE lanes l SET fence = 1 + (SELECT max(fence) FROM lanes o WHERE o.region = l.region AND o.advertiser_id = l.advertiser_id),
  erasures = 1 + (SELECT max(erasures) FROM lanes o WHERE o.region = l.region AND o.advertiser_id = l.advertiser_id)
  WHERE EXISTS (SELECT FROM lanes o WHERE o.region = l.region AND o.advertiser_id = l.advertiser_id AND o.id <> l.id);
UPDATE destinations d SET lane = (SELECT min(o.id) FROM lanes o WHERE o.region = d.region AND o.advertiser_id = d.advertiser_id);
UPDATE attempts a SET lane = d.lane FROM destinations d WHERE d.number = a.destination AND d.lane <> a.lane
  AND a.settled_at IS NULL;
DELETE FROM lanes l WHERE NOT EXISTS (SELECT FROM destinations d WHERE d.lane = l.id);
-- squawk-ignore disallowed-unique-constraint
ALTER TABLE lanes ADD UNIQUE (region, advertiser_id);
ALTER TABLE destinations ADD FOREIGN KEY (lane) REFERENCES lanes (id);
DROP POLICY organisation ON lanes;
ALTER TABLE lanes DROP COLUMN organisation_id;
CREATE POLICY organisation ON lanes USING ((SELECT acting_organisation()) = '*' OR EXISTS (
  SELECT FROM destinations d WHERE d.lane = lanes.id AND d.organisation_id = acting_organisation()));
CREATE OR REPLACE FUNCTION lane_of(region text, advertiser text) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE lane integer; BEGIN
  SELECT l.id INTO lane FROM lanes l WHERE l.region = $1 AND l.advertiser_id = $2;
  IF lane IS NULL THEN
    INSERT INTO lanes AS l (region, advertiser_id) VALUES ($1, $2)
      ON CONFLICT DO NOTHING RETURNING l.id INTO lane;
  END IF;
  IF lane IS NULL THEN
    SELECT l.id INTO lane FROM lanes l WHERE l.region = $1 AND l.advertiser_id = $2;
  END IF;
  RETURN lane; END $$;
DO $$
BEGIN
  EXECUTE format('ALTER FUNCTION lane_of(text, text) SET search_path = %I, pg_temp', current_schema());
  END $$;
"""


def _execute(script: str) -> None:
    # A semicolon ends a statement if the next line is not indented, unlike in the body of a function.
    for statement in re.split(r";\n(?=[A-Z\n-])", script):
        if re.sub(r"--.*", "", statement).strip():
            op.execute(statement)


def upgrade() -> None:
    _execute(UP)


def downgrade() -> None:
    _execute(DOWN)
