"""The road's tables: configuration, ledger, parcels, lanes, attempts, counts.

Revision ID: 0001
Revises:
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

UP = """
-- Years beyond 9999 and 'infinity' are legal for Postgres and unreadable for Python.
CREATE DOMAIN instant AS timestamptz CHECK (VALUE >= '2000-01-01+00' AND VALUE < '9999-01-01+00');

CREATE TABLE secrets (
  name   text PRIMARY KEY,
  sealed bytea NOT NULL
);

-- One row, written by readiness checks: that it can be committed is what they find out.
CREATE TABLE readiness (
  id smallint PRIMARY KEY CHECK (id = 1),
  at instant NOT NULL
);

-- One lane per (region, advertiser): who may send for it, how fast, and since when.
CREATE TABLE lanes (
  id            integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  region        text NOT NULL CHECK (region IN ('NA', 'EU', 'FE')),
  advertiser_id text NOT NULL,
  fence         bigint NOT NULL DEFAULT 0,
  owner         text,
  leased_until  instant,
  gate_until    instant,
  learned_rate  double precision CHECK (learned_rate > 0),
  UNIQUE (region, advertiser_id)
);

CREATE TABLE destinations (
  id                  text PRIMARY KEY CHECK (id ~ '^dst_[0-9a-z]{16,32}$'),
  number              integer GENERATED ALWAYS AS IDENTITY UNIQUE,
  lane                integer NOT NULL REFERENCES lanes (id),
  name                text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  advertiser_id       text NOT NULL CHECK (advertiser_id ~ '^([0-9]{1,32}|amzn1\\.ads-account\\.g\\.[A-Za-z0-9]{1,100})$'),
  region              text NOT NULL CHECK (region IN ('NA', 'EU', 'FE')),
  currency            text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
  identity_profile    text NOT NULL DEFAULT 'amazon' CHECK (identity_profile IN ('amazon', 'segment', 'amazon_gtm')),
  dataset_name        text CHECK (dataset_name ~ '^[A-Za-z][A-Za-z0-9_-]{4,99}$'),
  requests_per_second double precision NOT NULL DEFAULT 5 CHECK (requests_per_second BETWEEN 0.1 AND 1000),
  burst               integer NOT NULL DEFAULT 5 CHECK (burst BETWEEN 1 AND 1000),
  -- Facts; the state follows from them, so that no transition can be written that the facts do not bear.
  sign_in             text NOT NULL DEFAULT 'none' CHECK (sign_in IN ('none', 'valid', 'broken')),
  sign_in_reason      text CHECK (sign_in_reason IN ('revoked', 'unauthorized', 'forbidden', 'disconnected')),
  paused              boolean NOT NULL DEFAULT false,
  published_mappings  integer NOT NULL DEFAULT 0 CHECK (published_mappings >= 0),
  archived_at         instant,
  state               text NOT NULL GENERATED ALWAYS AS (
    CASE WHEN archived_at IS NOT NULL THEN 'archived'
         WHEN paused THEN 'paused'
         WHEN sign_in = 'broken' THEN 'needs_reconnect'
         WHEN sign_in = 'none' THEN 'draft'
         WHEN published_mappings > 0 THEN 'active'
         ELSE 'connected' END) STORED,
  version             bigint NOT NULL DEFAULT 1,
  created_at          instant NOT NULL DEFAULT now(),
  updated_at          instant NOT NULL DEFAULT now(),
  CHECK ((sign_in = 'broken') = (sign_in_reason IS NOT NULL))
);
CREATE INDEX destinations_lane ON destinations (lane);

CREATE TABLE sign_ins (
  destination       text PRIMARY KEY REFERENCES destinations (id),
  refresh_token     bytea NOT NULL,
  access_token      bytea,
  access_until      instant,
  issued_at         instant,
  lifetime_s        integer,
  generation        bigint NOT NULL DEFAULT 1,
  -- Set when a 401 asked for this token, cleared by the first success: a second 401 then means reconnect.
  forced_at         instant,
  refresh_owner     text,
  refresh_until     instant,
  connected_at      instant NOT NULL DEFAULT now(),
  connected_by      text NOT NULL
);

CREATE TABLE oauth_states (
  state_hash    bytea PRIMARY KEY,
  destination   text NOT NULL REFERENCES destinations (id),
  key_id        text NOT NULL,
  code_verifier bytea NOT NULL,
  created_at    instant NOT NULL DEFAULT now(),
  expires_at    instant NOT NULL,
  used_at       instant
);

CREATE TABLE mappings (
  id                text PRIMARY KEY CHECK (id ~ '^map_[0-9a-z]{16,32}$'),
  number            integer GENERATED ALWAYS AS IDENTITY UNIQUE,
  destination       text NOT NULL REFERENCES destinations (id),
  name              text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  draft             jsonb NOT NULL,
  published_version integer,
  version           bigint NOT NULL DEFAULT 1,
  archived_at       instant,
  created_at        instant NOT NULL DEFAULT now(),
  updated_at        instant NOT NULL DEFAULT now()
);
CREATE INDEX mappings_destination ON mappings (destination);

-- Written once, never changed: the events of a version keep it.
CREATE TABLE mapping_versions (
  mapping      text NOT NULL REFERENCES mappings (id),
  version      integer NOT NULL CHECK (version > 0),
  document     jsonb NOT NULL,
  published_by text NOT NULL,
  published_at instant NOT NULL DEFAULT now(),
  PRIMARY KEY (mapping, version)
);
ALTER TABLE mappings ADD CONSTRAINT mappings_published
  FOREIGN KEY (id, published_version) REFERENCES mapping_versions (mapping, version) DEFERRABLE INITIALLY DEFERRED;

-- The name rule: one event name per (advertiser, event type).
CREATE TABLE event_names (
  advertiser_id text NOT NULL,
  event_type    text NOT NULL,
  name          text NOT NULL CHECK (length(name) BETWEEN 1 AND 256),
  pinned_at     instant NOT NULL DEFAULT now(),
  PRIMARY KEY (advertiser_id, event_type)
);

CREATE TABLE api_keys (
  id              text PRIMARY KEY CHECK (id ~ '^key_[0-9a-z]{16,32}$'),
  name            text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  hint            text NOT NULL,
  digest          bytea NOT NULL UNIQUE CHECK (length(digest) = 32),
  scopes          text[] NOT NULL CHECK (cardinality(scopes) > 0),
  destination_ids text[],
  created_at      instant NOT NULL DEFAULT now(),
  created_by      text NOT NULL,
  expires_at      instant,
  revoked_at      instant,
  last_used_at    instant
);

CREATE TABLE audit (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at          instant NOT NULL DEFAULT now(),
  actor       text NOT NULL,
  act         text NOT NULL,
  subject     text NOT NULL,
  destination text,
  before      jsonb,
  after       jsonb
);
CREATE INDEX audit_destination ON audit (destination, id);

-- Generations of acceptance on the database's clock, 11 days each; a key is looked for in three of them.
CREATE TABLE ledger_generations (
  generation integer PRIMARY KEY,
  began_at   instant NOT NULL DEFAULT now()
);
CREATE TABLE ledger (
  generation integer NOT NULL,
  key        bytea NOT NULL,
  content    bytea NOT NULL,
  parcel     bigint NOT NULL,
  place      smallint NOT NULL,
  PRIMARY KEY (generation, key)
) PARTITION BY LIST (generation);

CREATE SEQUENCE parcel_ids AS bigint CACHE 16;

-- Append-only: up to 500 finished conversions of one destination under a key of their own.
CREATE TABLE parcels (
  day         date NOT NULL,
  id          bigint NOT NULL,
  destination integer NOT NULL,
  content     bytea NOT NULL,
  shapes      bytea NOT NULL,
  PRIMARY KEY (id, day)
) PARTITION BY RANGE (day);

-- All that changes about a parcel. 'open' means that the straight road still owes it.
CREATE TABLE parcel_states (
  parcel       bigint PRIMARY KEY,
  day          date NOT NULL,
  destination  integer NOT NULL,
  queue        smallint NOT NULL DEFAULT 0 CHECK (queue BETWEEN 0 AND 2),
  events       smallint NOT NULL CHECK (events BETWEEN 1 AND 500),
  bytes        integer NOT NULL CHECK (bytes > 0),
  accepted_at  instant NOT NULL DEFAULT now(),
  due_at       instant NOT NULL DEFAULT now(),
  tries        smallint NOT NULL DEFAULT 0,
  first_event  instant NOT NULL,
  last_event   instant NOT NULL,
  data_key     bytea,
  attempts     bigint[] NOT NULL DEFAULT '{}',
  reason       text,
  fate         text CHECK (fate IN ('sent', 'expired', 'discarded')),
  settled_at   instant,
  CHECK ((fate IS NULL) = (settled_at IS NULL)),
  CHECK (fate IS NOT NULL OR data_key IS NOT NULL),
  CHECK (first_event <= last_event)
) WITH (fillfactor = 80);
CREATE INDEX parcel_states_open ON parcel_states (destination, due_at, parcel) WHERE settled_at IS NULL;
CREATE INDEX parcel_states_newest ON parcel_states (destination, parcel);
CREATE INDEX parcel_states_keyed ON parcel_states (settled_at) WHERE settled_at IS NOT NULL AND data_key IS NOT NULL;
CREATE INDEX parcel_states_aging ON parcel_states (last_event) WHERE settled_at IS NULL;

-- A conversion that left the road on its own.
CREATE TABLE exceptions (
  parcel        bigint NOT NULL,
  place         smallint NOT NULL,
  day           date NOT NULL,
  destination   integer NOT NULL,
  status        text NOT NULL CHECK (status IN ('retrying', 'delivered', 'dead', 'expired', 'suppressed', 'erased')),
  -- Conversions that must travel together while a refused request is being halved.
  batch         bigint,
  tries         smallint NOT NULL DEFAULT 0,
  due_at        instant NOT NULL DEFAULT now(),
  event_at      instant NOT NULL,
  code          text,
  reason        text NOT NULL,
  amazon_code   text,
  amazon_message text,
  attempts      bigint[] NOT NULL DEFAULT '{}',
  changed_at    instant NOT NULL DEFAULT now(),
  PRIMARY KEY (parcel, place)
);
CREATE INDEX exceptions_due ON exceptions (destination, due_at) WHERE status = 'retrying';
CREATE INDEX exceptions_status ON exceptions (destination, status, changed_at);

CREATE SEQUENCE attempt_ids AS bigint CACHE 8;

-- One row per request to Amazon, committed before it is sent; its result is written once.
CREATE TABLE attempts (
  id          bigint NOT NULL,
  day         date NOT NULL,
  lane        integer NOT NULL,
  destination integer NOT NULL,
  fence       bigint NOT NULL,
  worker      text NOT NULL,
  parcels     bigint[] NOT NULL,
  -- Items of a retry travel by parcel and place instead of whole parcels.
  places      smallint[],
  events      smallint NOT NULL,
  generation  bigint NOT NULL,
  started_at  instant NOT NULL DEFAULT clock_timestamp(),
  settled_at  instant,
  outcome     text,
  http_status smallint,
  request_id  text,
  message     text,
  took_ms     integer,
  PRIMARY KEY (id, day),
  CHECK ((settled_at IS NULL) = (outcome IS NULL))
) PARTITION BY RANGE (day);
CREATE INDEX attempts_started ON attempts (lane) WHERE settled_at IS NULL;

-- Deltas per writer, so that no row is fought for across an fsync; sums are the truth.
CREATE TABLE counts (
  destination integer NOT NULL,
  day         date NOT NULL,
  writer      smallint NOT NULL,
  accepted    bigint NOT NULL DEFAULT 0,
  duplicates  bigint NOT NULL DEFAULT 0,
  rejected    bigint NOT NULL DEFAULT 0,
  retrying    bigint NOT NULL DEFAULT 0,
  delivered   bigint NOT NULL DEFAULT 0,
  dead        bigint NOT NULL DEFAULT 0,
  expired     bigint NOT NULL DEFAULT 0,
  suppressed  bigint NOT NULL DEFAULT 0,
  erased      bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (destination, day, writer)
) WITH (fillfactor = 70);

CREATE TABLE rejections (
  destination integer NOT NULL,
  day         date NOT NULL,
  writer      smallint NOT NULL,
  code        text NOT NULL,
  reason      text NOT NULL,
  rejected    bigint NOT NULL DEFAULT 0,
  last_at     instant NOT NULL DEFAULT now(),
  PRIMARY KEY (destination, day, writer, code, reason)
) WITH (fillfactor = 70);

INSERT INTO ledger_generations (generation) VALUES (1);
"""

DOWN = """
DROP TABLE rejections, counts, attempts, exceptions, parcel_states, parcels, ledger, ledger_generations,
  audit, api_keys, event_names;
ALTER TABLE mappings DROP CONSTRAINT mappings_published;
DROP TABLE mapping_versions, mappings, oauth_states, sign_ins, destinations, lanes, readiness, secrets;
DROP SEQUENCE parcel_ids, attempt_ids;
DROP DOMAIN instant;
"""


def upgrade() -> None:
    for statement in UP.split(";\n"):
        if statement.strip():
            op.execute(statement)


def downgrade() -> None:
    for statement in DOWN.split(";\n"):
        if statement.strip():
            op.execute(statement)
