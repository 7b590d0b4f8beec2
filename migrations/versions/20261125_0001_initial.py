"""The complete schema of the first release.

A table whose rows belong to a customer has the column `organisation_id`, or refers to a destination or mapping by its
number. A new database has one organisation, `default`.

Revision ID: 0001
Revises:
"""

import re

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

UP = r"""
-- A time. Postgres also stores years beyond 9999 and 'infinity', which Python cannot read.
CREATE DOMAIN instant AS timestamptz CHECK (VALUE >= '2000-01-01+00' AND VALUE < '9999-01-01+00');

-- The function of triggers on rows that must not change. The argument names the rows in the error.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION '% cannot be changed', TG_ARGV[0] USING ERRCODE = 'check_violation'; END $$;

-- Deployment -----------------------------------------------------------------------------------------------

CREATE TABLE secrets (
  name   text PRIMARY KEY,
  sealed bytea NOT NULL
);

-- One row, written by readiness checks. Its commit proves that the database accepts writes.
CREATE TABLE readiness (
  id smallint PRIMARY KEY CHECK (id = 1),
  at instant NOT NULL
);

-- The batch from which the uses of an encryption key are counted: each later batch used the key at most once.
CREATE TABLE encryption_keys (
  id            text PRIMARY KEY,
  first_batch   bigint NOT NULL,
  first_used_at instant NOT NULL DEFAULT now()
);

-- One row: when the last balance check started, and the result of the last finished check.
CREATE TABLE balance_checks (
  id          smallint PRIMARY KEY CHECK (id = 1),
  owner       text NOT NULL,
  started_at  instant NOT NULL,
  finished_at instant,
  imbalance   bigint CHECK (imbalance >= 0),
  batches     bigint,
  -- The first hundred, as [{"destination_id", "day", "kind", "events"}].
  mismatches  jsonb,
  CHECK ((finished_at IS NULL) = (imbalance IS NULL))
);

CREATE TABLE organisations (
  id                    text PRIMARY KEY CHECK (id ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
  name                  text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  -- NULL means no limit.
  max_destinations      integer CHECK (max_destinations >= 0),
  max_events_per_second integer CHECK (max_events_per_second >= 1),
  suspended_at          instant,
  version               bigint NOT NULL DEFAULT 1,
  created_at            instant NOT NULL DEFAULT now(),
  updated_at            instant NOT NULL DEFAULT now()
);

-- The organisation that the transaction or session acts for. NULL if none was set, so that no row matches.
CREATE FUNCTION acting_organisation() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
  RETURN current_setting('app.organisation_id', true);
INSERT INTO organisations (id, name) VALUES ('default', 'Default');

-- Configuration --------------------------------------------------------------------------------------------

-- The delivery queue of each advertiser in a region: its owner, rate and circuit breaker. Organisations with the
-- same advertiser share a lane.
CREATE TABLE lanes (
  id            integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  region        text NOT NULL CHECK (region IN ('NA', 'EU', 'FE')),
  advertiser_id text NOT NULL,
  fence         bigint NOT NULL DEFAULT 0,
  owner         text,
  leased_until  instant,
  blocked_until instant,
  learned_rate  double precision CHECK (learned_rate > 0),
  breaker       text NOT NULL DEFAULT 'closed' CHECK (breaker IN ('closed', 'open', 'half_open')),
  error_rate    double precision NOT NULL DEFAULT 0 CHECK (error_rate BETWEEN 0 AND 1),
  -- The number of erasures requested so far. No attempt starts with batches that were read at a lower number.
  erasures      bigint NOT NULL DEFAULT 0,
  UNIQUE (region, advertiser_id)
);

CREATE TABLE destinations (
  organisation_id     text NOT NULL DEFAULT 'default' REFERENCES organisations (id),
  id                  text PRIMARY KEY CHECK (id ~ '^dst_[0-9a-z]{16,32}$'),
  number              integer GENERATED ALWAYS AS IDENTITY UNIQUE,
  lane                integer NOT NULL REFERENCES lanes (id),
  name                text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  advertiser_id       text NOT NULL
    CHECK (advertiser_id ~ '^([0-9]{1,32}|amzn1\.ads-account\.g\.[A-Za-z0-9]{1,100})$'),
  region              text NOT NULL CHECK (region IN ('NA', 'EU', 'FE')),
  currency            text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
  identity_profile    text NOT NULL DEFAULT 'amazon' CHECK (identity_profile IN ('amazon', 'segment', 'amazon_gtm')),
  dataset_name        text CHECK (dataset_name ~ '^[A-Za-z][A-Za-z0-9_-]{4,99}$'),
  requests_per_second double precision NOT NULL DEFAULT 5 CHECK (requests_per_second BETWEEN 0.1 AND 1000),
  burst               integer NOT NULL DEFAULT 5 CHECK (burst BETWEEN 1 AND 1000),
  -- Facts, from which the generated column `state` is derived.
  sign_in             text NOT NULL DEFAULT 'none' CHECK (sign_in IN ('none', 'valid', 'broken')),
  sign_in_reason      text
    CHECK (sign_in_reason IN ('revoked', 'unauthorized', 'forbidden', 'disconnected', 'endpoint_not_found')),
  -- The time of the next probe for the reason endpoint_not_found.
  endpoint_probe_at   instant,
  paused              boolean NOT NULL DEFAULT false,
  -- Whether the organisation is suspended. Written for all its destinations at once.
  suspended           boolean NOT NULL DEFAULT false,
  -- The time at which the pause or the broken sign-in began. A trigger sets both.
  paused_since        instant,
  broken_since        instant,
  published_mappings  integer NOT NULL DEFAULT 0 CHECK (published_mappings >= 0),
  archived_at         instant,
  state               text NOT NULL GENERATED ALWAYS AS (
    CASE WHEN archived_at IS NOT NULL THEN 'archived'
         WHEN paused OR suspended THEN 'paused'
         WHEN sign_in = 'broken' THEN 'needs_reconnect'
         WHEN sign_in = 'none' THEN 'draft'
         WHEN published_mappings > 0 THEN 'active'
         ELSE 'connected' END) STORED,
  version             bigint NOT NULL DEFAULT 1,
  created_at          instant NOT NULL DEFAULT now(),
  updated_at          instant NOT NULL DEFAULT now(),
  CHECK ((sign_in = 'broken') = (sign_in_reason IS NOT NULL)),
  UNIQUE (organisation_id, id),
  UNIQUE (organisation_id, number)
);
CREATE INDEX destinations_lane ON destinations (lane);
CREATE FUNCTION set_condition_starts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.paused_since := CASE WHEN NEW.paused OR NEW.suspended THEN coalesce(OLD.paused_since, clock_timestamp()) END;
  NEW.broken_since := CASE WHEN NEW.sign_in = 'broken' THEN coalesce(OLD.broken_since, clock_timestamp()) END;
  RETURN NEW; END $$;
CREATE TRIGGER destinations_condition_starts BEFORE UPDATE OF paused, suspended, sign_in ON destinations
  FOR EACH ROW EXECUTE FUNCTION set_condition_starts();
CREATE TRIGGER destinations_stay_archived BEFORE UPDATE OF archived_at ON destinations FOR EACH ROW
  WHEN (OLD.archived_at IS NOT NULL AND NEW.archived_at IS DISTINCT FROM OLD.archived_at)
  EXECUTE FUNCTION refuse_change('an archived destination');

CREATE TABLE sign_ins (
  organisation_id text NOT NULL DEFAULT 'default',
  destination     text PRIMARY KEY,
  refresh_token   bytea NOT NULL,
  access_token    bytea,
  access_until    instant,
  issued_at       instant,
  lifetime_s      integer,
  generation      bigint NOT NULL DEFAULT 1,
  -- The time of the 401 that caused the refresh of this token, until Amazon accepts it. Another 401 in between means
  -- that the user must sign in again.
  forced_at       instant,
  refresh_owner   text,
  refresh_until   instant,
  connected_at    instant NOT NULL DEFAULT now(),
  connected_by    text NOT NULL,
  FOREIGN KEY (organisation_id, destination) REFERENCES destinations (organisation_id, id)
);

CREATE TABLE oauth_states (
  organisation_id text NOT NULL DEFAULT 'default',
  state_hash      bytea PRIMARY KEY,
  destination     text NOT NULL,
  key_id          text NOT NULL,
  code_verifier   bytea NOT NULL,
  created_at      instant NOT NULL DEFAULT now(),
  expires_at      instant NOT NULL,
  used_at         instant,
  FOREIGN KEY (organisation_id, destination) REFERENCES destinations (organisation_id, id)
);

-- The advertiser as Amazon reported it to the signed-in user.
CREATE TABLE amazon_accounts (
  organisation_id text NOT NULL DEFAULT 'default',
  destination     text PRIMARY KEY,
  name            text,
  currency        text CHECK (currency ~ '^[A-Z]{3}$'),
  seen_at         instant NOT NULL DEFAULT now(),
  FOREIGN KEY (organisation_id, destination) REFERENCES destinations (organisation_id, id)
);

-- Preflight items that a person has confirmed.
CREATE TABLE confirmations (
  organisation_id text NOT NULL DEFAULT 'default',
  destination     text NOT NULL,
  what            text NOT NULL CHECK (what IN ('permission', 'terms')),
  confirmed_by    text NOT NULL,
  confirmed_at    instant NOT NULL DEFAULT now(),
  PRIMARY KEY (destination, what),
  FOREIGN KEY (organisation_id, destination) REFERENCES destinations (organisation_id, id)
);

CREATE TABLE mappings (
  organisation_id   text NOT NULL DEFAULT 'default',
  id                text PRIMARY KEY CHECK (id ~ '^map_[0-9a-z]{16,32}$'),
  number            integer GENERATED ALWAYS AS IDENTITY UNIQUE,
  destination       text NOT NULL,
  name              text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  draft             jsonb NOT NULL,
  published_version integer,
  version           bigint NOT NULL DEFAULT 1,
  archived_at       instant,
  created_at        instant NOT NULL DEFAULT now(),
  updated_at        instant NOT NULL DEFAULT now(),
  UNIQUE (organisation_id, id),
  FOREIGN KEY (organisation_id, destination) REFERENCES destinations (organisation_id, id)
);
CREATE INDEX mappings_destination ON mappings (destination);
-- A search reads the ids of all mappings of an organisation. The index has 20 times fewer pages than the table with
-- its documents.
CREATE INDEX mappings_ids ON mappings (organisation_id) INCLUDE (number, id, destination);
CREATE TRIGGER mappings_stay_archived BEFORE UPDATE OF archived_at ON mappings FOR EACH ROW
  WHEN (OLD.archived_at IS NOT NULL AND NEW.archived_at IS DISTINCT FROM OLD.archived_at)
  EXECUTE FUNCTION refuse_change('an archived mapping');

-- Versions never change, because events refer to them.
CREATE TABLE mapping_versions (
  organisation_id text NOT NULL DEFAULT 'default',
  mapping         text NOT NULL,
  version         integer NOT NULL CHECK (version > 0),
  document        jsonb NOT NULL,
  published_by    text NOT NULL,
  published_at    instant NOT NULL DEFAULT now(),
  note            text CHECK (length(note) BETWEEN 1 AND 1000),
  PRIMARY KEY (mapping, version),
  FOREIGN KEY (organisation_id, mapping) REFERENCES mappings (organisation_id, id)
);
CREATE TRIGGER mapping_versions_immutable BEFORE UPDATE OR DELETE ON mapping_versions FOR EACH ROW
  EXECUTE FUNCTION refuse_change('a published version');
ALTER TABLE mappings ADD CONSTRAINT mappings_published
  FOREIGN KEY (id, published_version) REFERENCES mapping_versions (mapping, version) DEFERRABLE INITIALLY DEFERRED;

-- The pinned name of each (advertiser, event type) of an organisation.
CREATE TABLE event_names (
  organisation_id text NOT NULL DEFAULT 'default' REFERENCES organisations (id),
  advertiser_id   text NOT NULL,
  event_type      text NOT NULL,
  name            text NOT NULL CHECK (length(name) BETWEEN 1 AND 256),
  pinned_at       instant NOT NULL DEFAULT now(),
  PRIMARY KEY (advertiser_id, event_type, organisation_id)
);

CREATE TABLE api_keys (
  organisation_id text NOT NULL DEFAULT 'default' REFERENCES organisations (id),
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
  last_used_at    instant,
  replaces        text,
  UNIQUE (organisation_id, id)
);

-- Sessions by the digest of the random token in their cookie. A session of a key has the key's current permissions.
-- A session of a person has the role that the identity provider gave at sign-in.
CREATE TABLE console_sessions (
  organisation_id text NOT NULL DEFAULT 'default' REFERENCES organisations (id),
  digest          bytea PRIMARY KEY CHECK (length(digest) = 32),
  key_digest      bytea CHECK (length(key_digest) = 32),
  subject         text CHECK (length(subject) BETWEEN 1 AND 300),
  display_name    text,
  role            text CHECK (role IN ('viewer', 'operator', 'editor', 'admin', 'privacy', 'platform')),
  created_at      instant NOT NULL DEFAULT now(),
  seen_at         instant NOT NULL DEFAULT now(),
  -- The time at which the person last signed in at the provider.
  signed_in_at    instant NOT NULL DEFAULT now(),
  -- The organisation that a platform caller has chosen to act for.
  acting_for      text REFERENCES organisations (id),
  CHECK (created_at <= seen_at),
  CHECK ((key_digest IS NULL) = (subject IS NOT NULL)),
  CHECK ((subject IS NULL) = (role IS NULL))
);

-- A hash chain: the hash of a row includes the hash of the row before. A trigger at the commit adds it.
CREATE TABLE audit (
  organisation_id text NOT NULL DEFAULT 'default' REFERENCES organisations (id),
  id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at              instant NOT NULL DEFAULT now(),
  actor           text NOT NULL,
  action          text NOT NULL,
  subject         text NOT NULL,
  destination     text,
  before          jsonb,
  after           jsonb,
  sequence        bigint,
  prev_hash       bytea,
  hash            bytea
);
CREATE INDEX audit_destination ON audit (destination, id);
CREATE INDEX audit_organisation ON audit (organisation_id, id);
CREATE UNIQUE INDEX audit_sequence ON audit (sequence);

-- The text of a row that is hashed. Each column is written as its length in bytes, a colon and its text; NULL is `-`.
CREATE FUNCTION audit_text(audit) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT string_agg(coalesce(octet_length(word) || ':' || word, '-'), '' ORDER BY place)
  FROM unnest(ARRAY[
    $1.sequence::text, $1.id::text, to_char($1.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'),
    $1.organisation_id, $1.actor, $1.action, $1.subject, $1.destination, $1.before::text, $1.after::text
  ]) WITH ORDINALITY AS members (word, place)
$$;

-- Adds the hash to a new row. It runs with the owner's privileges, because the role of the API cannot update rows.
CREATE FUNCTION audit_seal() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE last audit; sealed audit; BEGIN
  PERFORM pg_advisory_xact_lock(7305);
  SELECT * INTO last FROM audit WHERE sequence IS NOT NULL ORDER BY sequence DESC LIMIT 1;
  SELECT * INTO sealed FROM audit WHERE id = NEW.id;
  sealed.sequence := coalesce(last.sequence, 0) + 1;
  sealed.prev_hash := coalesce(last.hash, decode(repeat('00', 32), 'hex'));
  UPDATE audit SET sequence = sealed.sequence, prev_hash = sealed.prev_hash,
    hash = sha256(sealed.prev_hash || convert_to(audit_text(sealed), 'UTF8'))
  WHERE id = NEW.id;
  RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER audit_sealed AFTER INSERT ON audit DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION audit_seal();
-- Only the hash can be added to a row. No other change is possible, even for the owner of the tables.
CREATE TRIGGER audit_unchanged BEFORE UPDATE ON audit FOR EACH ROW
  WHEN (OLD.sequence IS NOT NULL OR NEW.sequence IS NULL
    OR (OLD.organisation_id, OLD.id, OLD.at, OLD.actor, OLD.action, OLD.subject, OLD.destination, OLD.before, OLD.after)
      IS DISTINCT FROM
      (NEW.organisation_id, NEW.id, NEW.at, NEW.actor, NEW.action, NEW.subject, NEW.destination, NEW.before, NEW.after))
  EXECUTE FUNCTION refuse_change('an audit row');
CREATE TRIGGER audit_undeleted BEFORE DELETE ON audit FOR EACH ROW EXECUTE FUNCTION refuse_change('an audit row');
CREATE TRIGGER audit_untruncated BEFORE TRUNCATE ON audit FOR EACH STATEMENT
  EXECUTE FUNCTION refuse_change('the audit');

CREATE TABLE erasures (
  organisation_id text NOT NULL DEFAULT 'default' REFERENCES organisations (id),
  id              text PRIMARY KEY CHECK (id ~ '^era_[0-9a-z]{16,32}$'),
  number          bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
  requested_at    instant NOT NULL DEFAULT now(),
  requested_by    text NOT NULL,
  kinds           text[] NOT NULL CHECK (cardinality(kinds) > 0),
  -- The encrypted search values, which are deleted when the erasure is finished.
  sealed          bytea,
  scanned_to      bigint NOT NULL DEFAULT 0,
  scanned         bigint NOT NULL DEFAULT 0,
  waiting         bigint NOT NULL DEFAULT 0,
  dead            bigint NOT NULL DEFAULT 0,
  delivered       bigint NOT NULL DEFAULT 0,
  -- The number of batches that could not be read.
  unreadable      bigint NOT NULL DEFAULT 0,
  finished_at     instant,
  CHECK ((finished_at IS NULL) = (sealed IS NOT NULL))
);
CREATE INDEX erasures_pending ON erasures (number) WHERE finished_at IS NULL;

-- Schema samples of accepted events: the paths and types of fields and how many events have them, never a value.
CREATE TABLE schema_samples (
  id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  mapping integer NOT NULL,
  at      instant NOT NULL DEFAULT now(),
  events  integer NOT NULL CHECK (events > 0),
  content bytea NOT NULL
);
CREATE INDEX schema_samples_mapping ON schema_samples (mapping, id);

-- Events ---------------------------------------------------------------------------------------------------

-- The ledger is divided by the time of acceptance into generations of 11 days. A key is searched in the last three.
CREATE TABLE ledger_generations (
  generation integer PRIMARY KEY,
  began_at   instant NOT NULL DEFAULT now()
);
INSERT INTO ledger_generations (generation) VALUES (1);

-- The idempotency keys of accepted events. `content` is a digest; batch and place are the position of the event.
CREATE TABLE ledger (
  generation integer NOT NULL,
  key        bytea NOT NULL,
  content    bytea NOT NULL,
  batch      bigint NOT NULL,
  place      smallint NOT NULL,
  PRIMARY KEY (generation, key)
) PARTITION BY LIST (generation);

-- Events that were answered as duplicates because another event already had their Amazon eventId. `key` is the ledger
-- key of the duplicate; batch and place are the position of the other event.
CREATE TABLE mapped_duplicates (
  key         bytea PRIMARY KEY CHECK (length(key) = 16),
  day         date NOT NULL,
  batch       bigint NOT NULL,
  place       smallint NOT NULL,
  answered_at instant NOT NULL DEFAULT now()
);

CREATE SEQUENCE batch_ids AS bigint CACHE 16;

-- Up to 500 conversions of one destination, encrypted with the batch's own data key. Only an erasure changes a row.
CREATE TABLE batches (
  day         date NOT NULL,
  id          bigint NOT NULL,
  destination integer NOT NULL,
  content     bytea NOT NULL,
  -- The ids, types and times of the events, without other values.
  shapes      bytea NOT NULL,
  PRIMARY KEY (id, day)
) PARTITION BY RANGE (day);

-- Everything about a batch that changes. A batch is open until it has a disposition and settled_at.
CREATE TABLE batch_states (
  batch       bigint NOT NULL,
  day         date NOT NULL,
  destination integer NOT NULL,
  -- 0 has live events, 1 retries, 2 replays and low-priority events.
  queue       smallint NOT NULL DEFAULT 0 CHECK (queue BETWEEN 0 AND 2),
  events      smallint NOT NULL CHECK (events BETWEEN 0 AND 500),
  bytes       integer NOT NULL CHECK (bytes > 0),
  accepted_at instant NOT NULL DEFAULT now(),
  due_at      instant NOT NULL DEFAULT now(),
  tries       smallint NOT NULL DEFAULT 0,
  first_event instant NOT NULL,
  last_event  instant NOT NULL,
  data_key    bytea,
  attempts    bigint[] NOT NULL DEFAULT '{}',
  reason      text,
  disposition text CHECK (disposition IN ('sent', 'expired', 'discarded')),
  settled_at  instant,
  replays     integer[],
  PRIMARY KEY (batch, day),
  CHECK ((disposition IS NULL) = (settled_at IS NULL)),
  CHECK (disposition IS NOT NULL OR data_key IS NOT NULL),
  CHECK (first_event <= last_event)
) PARTITION BY RANGE (day);
CREATE INDEX batch_states_open ON batch_states (destination, queue, due_at, batch) WHERE settled_at IS NULL;
CREATE INDEX batch_states_newest ON batch_states (destination, batch);
CREATE INDEX batch_states_keyed ON batch_states (settled_at) WHERE settled_at IS NOT NULL AND data_key IS NOT NULL;
CREATE INDEX batch_states_aging ON batch_states (last_event) WHERE settled_at IS NULL;
CREATE INDEX batch_states_never_sent ON batch_states (destination, batch)
  WHERE disposition IN ('expired', 'discarded');
-- For the progress of replays. A batch that was never replayed has no entry.
CREATE INDEX batch_states_replayed ON batch_states (destination, batch) WHERE replays IS NOT NULL;

-- A conversion that is handled separately from its batch: retrying, dead, expired, erased, or delivered after a retry.
CREATE TABLE exceptions (
  batch          bigint NOT NULL,
  place          smallint NOT NULL,
  day            date NOT NULL,
  destination    integer NOT NULL,
  -- The number of the mapping, or NULL if the metadata of the batch could not be read.
  mapping        integer,
  status         text NOT NULL CHECK (status IN ('retrying', 'delivered', 'dead', 'expired', 'erased')),
  -- Conversions of one group are sent together, because each group is half of a request that Amazon refused.
  send_group     bigint,
  tries          smallint NOT NULL DEFAULT 0,
  due_at         instant NOT NULL DEFAULT now(),
  event_at       instant NOT NULL,
  code           text,
  reason         text NOT NULL,
  amazon_code    text,
  amazon_message text,
  -- Amazon's results for this conversion, one per attempt. app/store/exceptions.py limits their number.
  item_outcomes  jsonb[] NOT NULL DEFAULT '{}',
  changed_at     instant NOT NULL DEFAULT now(),
  delivered_at   instant,
  erased_at      instant,
  replays        integer[],
  queue          smallint NOT NULL DEFAULT 0 CHECK (queue BETWEEN 0 AND 2),
  -- The time at which a person marked a dead conversion as handled.
  dismissed_at   instant,
  PRIMARY KEY (batch, place)
);
CREATE INDEX exceptions_due ON exceptions (destination, queue, due_at, batch, place) WHERE status = 'retrying';
CREATE INDEX exceptions_status ON exceptions (destination, status, changed_at);
CREATE INDEX exceptions_dead_open ON exceptions (destination, changed_at)
  WHERE status = 'dead' AND dismissed_at IS NULL;
CREATE INDEX exceptions_aging ON exceptions (event_at) WHERE status = 'retrying';
CREATE INDEX exceptions_replayed ON exceptions (destination, changed_at) WHERE replays IS NOT NULL;

CREATE SEQUENCE attempt_ids AS bigint CACHE 8;

-- One row per request to Amazon, committed before the request is sent. Its result is written once.
CREATE TABLE attempts (
  id          bigint NOT NULL,
  day         date NOT NULL,
  lane        integer NOT NULL,
  destination integer NOT NULL,
  fence       bigint NOT NULL,
  worker      text NOT NULL,
  batches     bigint[] NOT NULL,
  -- The position in its batch of each conversion of a retry, parallel to `batches`. NULL if complete batches are sent.
  places      smallint[],
  events      smallint NOT NULL,
  generation  bigint NOT NULL,
  started_at  instant NOT NULL DEFAULT clock_timestamp(),
  settled_at  instant,
  outcome     text,
  http_status smallint,
  request_id  text,
  message     text,
  duration_ms integer,
  -- The number of events of an answered request that Amazon accepted.
  delivered   smallint,
  PRIMARY KEY (id, day),
  CHECK ((settled_at IS NULL) = (outcome IS NULL))
) PARTITION BY RANGE (day);
CREATE INDEX attempts_started ON attempts (lane) WHERE settled_at IS NULL;
CREATE INDEX attempts_recent ON attempts (destination, started_at);
-- Finds a request by the id that Amazon gave it. An entry of a hash index is smaller than the text.
CREATE INDEX attempts_request ON attempts USING hash (request_id);
-- Finds the failed attempts and the retries of an event. An answered request with complete batches has no entry,
-- because its id is in batch_states.
CREATE INDEX attempts_off_fast_path ON attempts USING gin (batches)
  WHERE settled_at IS NOT NULL AND (outcome <> 'answered' OR places IS NOT NULL);

CREATE TABLE replays (
  organisation_id text NOT NULL DEFAULT 'default',
  id              text PRIMARY KEY CHECK (id ~ '^rpl_[0-9a-z]{16,32}$'),
  number          integer GENERATED ALWAYS AS IDENTITY UNIQUE,
  destination     integer NOT NULL,
  requested_at    instant NOT NULL DEFAULT now(),
  requested_by    text NOT NULL,
  status          text NOT NULL CHECK (status IN ('dead', 'expired')),
  reason          text,
  since           instant,
  until           instant,
  replayed        integer NOT NULL DEFAULT 0,
  FOREIGN KEY (organisation_id, destination) REFERENCES destinations (organisation_id, number)
);

-- Counts ---------------------------------------------------------------------------------------------------

-- Counts of events. The count is the sum over all writers: several rows let writers not wait for each other's commits.
CREATE TABLE counts (
  destination     integer NOT NULL,
  day             date NOT NULL,
  writer          smallint NOT NULL,
  accepted        bigint NOT NULL DEFAULT 0,
  duplicates      bigint NOT NULL DEFAULT 0,
  rejected        bigint NOT NULL DEFAULT 0,
  retrying        bigint NOT NULL DEFAULT 0,
  delivered       bigint NOT NULL DEFAULT 0,
  dead            bigint NOT NULL DEFAULT 0,
  expired         bigint NOT NULL DEFAULT 0,
  erased          bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (destination, day, writer)
) WITH (fillfactor = 70);

CREATE TABLE rejections (
  destination     integer NOT NULL,
  day             date NOT NULL,
  writer          smallint NOT NULL,
  code            text NOT NULL,
  reason          text NOT NULL,
  -- The number of the mapping, or 0; the path in the event, or ''.
  mapping         integer NOT NULL DEFAULT 0,
  field           text NOT NULL DEFAULT '',
  rejected        bigint NOT NULL DEFAULT 0,
  first_at        instant NOT NULL DEFAULT now(),
  last_at         instant NOT NULL DEFAULT now(),
  PRIMARY KEY (destination, day, writer, code, reason, mapping, field)
) WITH (fillfactor = 70);

-- The requests and bytes of the days whose partitions were dropped.
CREATE TABLE organisation_usage (
  organisation_id text NOT NULL REFERENCES organisations (id),
  day             date NOT NULL,
  requests        bigint NOT NULL,
  bytes           bigint NOT NULL,
  PRIMARY KEY (organisation_id, day)
);

-- The events a second that an organisation with a limit sends to each API process. Processes share them by this
-- table. Rows matter only for seconds, so they need no WAL.
CREATE UNLOGGED TABLE inbound_demand (
  organisation_id text NOT NULL REFERENCES organisations (id),
  process         text NOT NULL,
  demand          real NOT NULL,
  updated_at      instant NOT NULL DEFAULT now(),
  PRIMARY KEY (organisation_id, process)
) WITH (fillfactor = 50);

-- Rejected events and duplicates by journey and node. An id is '' if the event has none, or if a process has met too
-- many nodes.
CREATE TABLE journey_counts (
  organisation_id text NOT NULL,
  destination     integer NOT NULL,
  day             date NOT NULL,
  writer          smallint NOT NULL,
  journey_id      text NOT NULL,
  node_id         text NOT NULL,
  rejected        bigint NOT NULL DEFAULT 0,
  duplicates      bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (destination, day, writer, journey_id, node_id)
) WITH (fillfactor = 70);

-- Rejected events without their values, up to 600 a minute for each destination.
CREATE TABLE rejection_records (
  organisation_id text NOT NULL,
  id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  destination     integer NOT NULL,
  received_at     instant NOT NULL,
  event_id        text,
  mapping         integer,
  code            text NOT NULL,
  reason          text NOT NULL,
  field           text,
  mapping_field   text,
  request_id      text,
  execution_id    text,
  journey_id      text,
  node_id         text,
  FOREIGN KEY (organisation_id, destination) REFERENCES destinations (organisation_id, number)
);
CREATE INDEX rejection_records_destination ON rejection_records (destination, id);
CREATE INDEX rejection_records_minute ON rejection_records (destination, received_at);
CREATE INDEX rejection_records_event ON rejection_records (event_id, destination) WHERE event_id IS NOT NULL;

-- The numbers of events that the consent check rejected, by reason and legal basis.
CREATE TABLE consent_stops (
  destination     integer NOT NULL,
  day             date NOT NULL,
  writer          smallint NOT NULL,
  reason          text NOT NULL,
  basis           text NOT NULL CHECK (basis IN ('granted', 'amazon', 'tcf', 'gpp', 'none')),
  events          bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (destination, day, writer, reason, basis)
) WITH (fillfactor = 70);

-- Incidents and notifications ------------------------------------------------------------------------------

-- The incident settings of a destination. Without a row, the defaults apply.
CREATE TABLE destination_alerting (
  organisation_id text NOT NULL,
  destination     text PRIMARY KEY,
  -- Thresholds by kind of incident, and `muted_until`, the end of a maintenance window.
  alerting        jsonb NOT NULL DEFAULT '{}',
  -- The channels and the kinds of incidents for messages. NULL means all.
  channels        text[],
  kinds           text[],
  min_severity    text NOT NULL DEFAULT 'warning' CHECK (min_severity IN ('info', 'warning', 'critical')),
  FOREIGN KEY (organisation_id, destination) REFERENCES destinations (organisation_id, id)
);

-- One row. The process that computes incidents writes it at every run and measures the time of the commit.
CREATE TABLE commit_probes (
  id smallint PRIMARY KEY CHECK (id = 1),
  at instant NOT NULL,
  -- outcome_history contains the requests settled before this time.
  outcomes_recorded_at instant NOT NULL DEFAULT now()
);

CREATE TABLE incidents (
  organisation_id text NOT NULL REFERENCES organisations (id),
  id              text PRIMARY KEY CHECK (id ~ '^inc_[0-9a-z]{16,32}$'),
  number          bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
  -- NULL for an incident of the service.
  destination     text,
  kind            text NOT NULL,
  severity        text NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
  state           text NOT NULL CHECK (state IN ('open', 'acknowledged', 'resolved')),
  opened_at       instant NOT NULL,
  last_seen_at    instant NOT NULL,
  resolved_at     instant,
  summary         text NOT NULL,
  affected_events bigint NOT NULL DEFAULT 0,
  oldest_event_at instant,
  expires_at      instant,
  acknowledged_at instant,
  acknowledged_by text,
  muted_until     instant,
  note            text CHECK (length(note) <= 1000),
  is_silent       boolean NOT NULL DEFAULT false,
  CHECK ((state = 'resolved') = (resolved_at IS NOT NULL)),
  UNIQUE (organisation_id, id),
  FOREIGN KEY (organisation_id, destination) REFERENCES destinations (organisation_id, id)
);
-- A kind of incident can be open only once per destination, or once per organisation without a destination.
CREATE UNIQUE INDEX incidents_open ON incidents (organisation_id, coalesce(destination, ''), kind)
  WHERE state <> 'resolved';
CREATE INDEX incidents_resolved ON incidents (resolved_at) WHERE state = 'resolved';
CREATE INDEX incidents_destination ON incidents (destination, number);

-- The times of the last messages about an incident to each channel, and the severity at its last opening.
CREATE TABLE incident_messages (
  organisation_id text NOT NULL,
  incident        text NOT NULL,
  channel         text NOT NULL,
  opened_at       instant,
  resolved_at     instant,
  reminded_at     instant,
  severity        text,
  PRIMARY KEY (incident, channel),
  FOREIGN KEY (organisation_id, incident) REFERENCES incidents (organisation_id, id) ON DELETE CASCADE
);

-- The outbox of messages: those to deliver, and those of the last hour. They have no address and no value of an event.
CREATE TABLE notifications (
  organisation_id text NOT NULL REFERENCES organisations (id),
  id              text PRIMARY KEY CHECK (id ~ '^msg_[0-9a-z]{16,32}$'),
  number          bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
  channel         text NOT NULL,
  type            text NOT NULL,
  body            bytea NOT NULL,
  created_at      instant NOT NULL DEFAULT now(),
  due_at          instant NOT NULL DEFAULT now(),
  leased_until    instant,
  tries           integer NOT NULL DEFAULT 0,
  -- The time at which the message was delivered or failed permanently.
  finished_at     instant
);
CREATE INDEX notifications_due ON notifications (due_at) WHERE finished_at IS NULL;
CREATE INDEX notifications_recent ON notifications (created_at);

CREATE TABLE notification_channels (
  organisation_id text NOT NULL REFERENCES organisations (id),
  name            text NOT NULL,
  last_success_at instant,
  -- The first failure since the last success.
  failing_since   instant,
  last_error      text,
  PRIMARY KEY (organisation_id, name)
);

-- The events received and rejected every five seconds, for incidents of the kind `rejections`. Kept for 90 minutes.
CREATE TABLE intake_steps (
  organisation_id text NOT NULL,
  destination     integer NOT NULL,
  at              instant NOT NULL,
  received        bigint NOT NULL DEFAULT 0,
  rejected        bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (destination, at)
);
CREATE INDEX intake_steps_at ON intake_steps (at);

-- The counts of the last two days at the last write to intake_steps, to compute the next step.
CREATE TABLE intake_totals (
  organisation_id text NOT NULL,
  destination     integer NOT NULL,
  day             date NOT NULL,
  received        bigint NOT NULL,
  rejected        bigint NOT NULL,
  PRIMARY KEY (destination, day)
);

-- Outcomes of events in time buckets of several widths, for the console. The monitor computes them from `counts`.
CREATE TABLE outcome_history (
  organisation_id        text NOT NULL,
  destination            integer NOT NULL,
  bucket_seconds         integer NOT NULL,
  at                     instant NOT NULL,
  accepted               bigint NOT NULL DEFAULT 0,
  duplicates             bigint NOT NULL DEFAULT 0,
  rejected               bigint NOT NULL DEFAULT 0,
  delivered              bigint NOT NULL DEFAULT 0,
  dead                   bigint NOT NULL DEFAULT 0,
  expired                bigint NOT NULL DEFAULT 0,
  requests               bigint NOT NULL DEFAULT 0,
  failed_requests        bigint NOT NULL DEFAULT 0,
  retried                bigint NOT NULL DEFAULT 0,
  -- The highest age of a waiting event within the bucket, or NULL if none waited. In a bucket of a minute it is the
  -- age that was recorded last.
  oldest_waiting_seconds real,
  learned_rate           real,
  PRIMARY KEY (destination, bucket_seconds, at)
) WITH (fillfactor = 70);
CREATE INDEX outcome_history_at ON outcome_history (bucket_seconds, at);

-- The counts of the last two days at the last write to outcome_history, to compute the next increase.
CREATE TABLE outcome_totals (
  organisation_id text NOT NULL,
  destination     integer NOT NULL,
  day             date NOT NULL,
  accepted        bigint NOT NULL,
  duplicates      bigint NOT NULL,
  rejected        bigint NOT NULL,
  delivered       bigint NOT NULL,
  dead            bigint NOT NULL,
  expired         bigint NOT NULL,
  PRIMARY KEY (destination, day)
);

-- Status callbacks -----------------------------------------------------------------------------------------

-- Destinations whose final states are reported to the journey engine.
CREATE TABLE callback_destinations (
  organisation_id text NOT NULL DEFAULT 'default',
  destination     integer PRIMARY KEY,
  since           instant NOT NULL DEFAULT now(),
  by_actor        text NOT NULL,
  FOREIGN KEY (organisation_id, destination) REFERENCES destinations (organisation_id, number)
);

-- Each row is one request to the journey engine.
CREATE TABLE callbacks (
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  made_at      instant NOT NULL DEFAULT now(),
  due_at       instant NOT NULL DEFAULT now(),
  leased_until instant,
  tries        integer NOT NULL DEFAULT 0,
  problem      text
);

-- The final states to report. `callback` is the request that carries them, or NULL before there is one.
CREATE TABLE callback_events (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  destination integer NOT NULL,
  batch       bigint NOT NULL,
  day         date NOT NULL,
  places      smallint[],
  events      smallint NOT NULL CHECK (events > 0),
  status      text NOT NULL CHECK (status IN ('delivered', 'dead', 'expired', 'erased')),
  code        text,
  reason      text,
  at          instant NOT NULL DEFAULT now(),
  callback    bigint REFERENCES callbacks (id) ON DELETE CASCADE
);
CREATE INDEX callback_events_callback ON callback_events (callback) WHERE callback IS NOT NULL;
CREATE INDEX callback_events_destination ON callback_events (destination);
CREATE INDEX callback_events_open ON callback_events (id) WHERE callback IS NULL;

-- Partitions -----------------------------------------------------------------------------------------------

-- Only the owner of a table can create and drop its partitions. These functions run with the owner's
-- privileges, so that a worker needs no other DDL. The command `migrate` grants them to the worker's role
-- (app/store/privileges.py). None of them accepts the name of a table.

CREATE FUNCTION create_day_partitions(day date) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE parent text; BEGIN
  IF day NOT BETWEEN current_date - 2 AND current_date + 60 THEN
    RAISE EXCEPTION 'no partition of events is needed for %', day USING ERRCODE = 'check_violation'; END IF;
  FOREACH parent IN ARRAY ARRAY['batches', 'attempts'] LOOP
    EXECUTE format('CREATE TABLE IF NOT EXISTS %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
      parent || '_p' || to_char(day, 'YYYYMMDD'), parent, day, day + 1);
  END LOOP; END $$;

-- States are read by destination over all days. They have partitions of ten days, because fewer partitions are faster.
CREATE FUNCTION create_state_partition(first_day date) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
  IF first_day NOT BETWEEN current_date - 12 AND current_date + 60 OR (first_day - date '1970-01-01') % 10 <> 0 THEN
    RAISE EXCEPTION 'no partition of states begins on %', first_day USING ERRCODE = 'check_violation'; END IF;
  -- A state is updated once or twice. Free space on its page avoids updates of the indexes.
  EXECUTE format('CREATE TABLE IF NOT EXISTS %I PARTITION OF batch_states '
    'FOR VALUES FROM (%L) TO (%L) WITH (fillfactor = 80)',
    'batch_states_p' || to_char(first_day, 'YYYYMMDD'), first_day, first_day + 10);
  END $$;

CREATE FUNCTION create_ledger_partition(generation integer) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
  IF generation NOT BETWEEN 1 AND (SELECT max(g.generation) + 1 FROM ledger_generations g) THEN
    RAISE EXCEPTION 'generation % is not due', generation USING ERRCODE = 'check_violation'; END IF;
  EXECUTE format('CREATE TABLE IF NOT EXISTS %I PARTITION OF ledger FOR VALUES IN (%s)',
    'ledger_g' || generation, generation);
  END $$;

-- Refuses to drop a day with open events.
CREATE FUNCTION drop_day_partitions(day date) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE parent text; BEGIN
  IF EXISTS (SELECT FROM batch_states s WHERE s.day = $1 AND s.settled_at IS NULL)
    OR EXISTS (SELECT FROM exceptions e WHERE e.day = $1 AND e.status = 'retrying') THEN
    RAISE EXCEPTION 'events of % are open', day USING ERRCODE = 'check_violation'; END IF;
  FOREACH parent IN ARRAY ARRAY['batches', 'attempts'] LOOP
    EXECUTE format('DROP TABLE IF EXISTS %I', parent || '_p' || to_char(day, 'YYYYMMDD'));
  END LOOP; END $$;

-- Refuses to drop states whose batches are stored.
CREATE FUNCTION drop_state_partition(first_day date) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
  IF EXISTS (SELECT FROM generate_series(0, 9) n
    WHERE to_regclass('batches_p' || to_char(first_day + n, 'YYYYMMDD')) IS NOT NULL) THEN
    RAISE EXCEPTION 'batches of these states are stored' USING ERRCODE = 'check_violation'; END IF;
  EXECUTE format('DROP TABLE IF EXISTS %I', 'batch_states_p' || to_char(first_day, 'YYYYMMDD'));
  END $$;

-- Refuses to drop a generation in which keys are still searched.
CREATE FUNCTION drop_ledger_partition(generation integer) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
  IF generation >= (SELECT max(g.generation) - 2 FROM ledger_generations g) THEN
    RAISE EXCEPTION 'generation % is in use', generation USING ERRCODE = 'check_violation'; END IF;
  EXECUTE format('DROP TABLE IF EXISTS %I', 'ledger_g' || generation);
  END $$;

-- Queries of one organisation ----------------------------------------------------------------------------

-- These functions run with the owner's privileges and bypass row-level security. They return only ids.

-- The failed attempts and the retries that carried a batch. With row-level security, Postgres would not use the index on
-- an array, because its operator is not leakproof. The caller reads the attempts with these ids under its own policy.
CREATE FUNCTION attempts_of_batch(batch bigint, since date) RETURNS SETOF bigint
  LANGUAGE sql STABLE SECURITY DEFINER AS $$
  SELECT a.id FROM attempts a WHERE a.batches @> ARRAY[$1] AND a.day >= $2
    -- The condition of the partial index, so that the planner uses it.
    AND a.settled_at IS NOT NULL AND (a.outcome <> 'answered' OR a.places IS NOT NULL)
    AND a.outcome <> 'not_sent' $$;

-- Returns the lane of an advertiser and creates it if there is none. Another organisation may have created it. The
-- function reads first, because every upsert would use up an identity value and lock the lane's row.
CREATE FUNCTION lane_of(region text, advertiser text) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE lane integer; BEGIN
  SELECT l.id INTO lane FROM lanes l WHERE l.region = $1 AND l.advertiser_id = $2;
  IF lane IS NULL THEN
    INSERT INTO lanes AS l (region, advertiser_id) VALUES ($1, $2)
      ON CONFLICT DO NOTHING RETURNING l.id INTO lane;
  END IF;
  IF lane IS NULL THEN  -- another transaction created it and has committed
    SELECT l.id INTO lane FROM lanes l WHERE l.region = $1 AND l.advertiser_id = $2;
  END IF;
  RETURN lane; END $$;

-- The search path of a caller must not decide which tables a function with the owner's privileges uses.
DO $$
DECLARE name text; BEGIN
  FOREACH name IN ARRAY ARRAY['audit_seal()', 'create_day_partitions(date)', 'create_state_partition(date)',
    'create_ledger_partition(integer)', 'drop_day_partitions(date)', 'drop_state_partition(date)',
    'drop_ledger_partition(integer)', 'attempts_of_batch(bigint, date)', 'lane_of(text, text)'] LOOP
    EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', name, current_schema());
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', name);
  END LOOP; END $$;
"""

# Row-level security (ADR 0036). A role that does not own the tables reads and writes only the rows of the organisation
# that it acts for. Sessions of the pipeline act for `*`, which means all organisations. The owner of the tables is not
# restricted, because it migrates, backs up and repairs.
ISOLATION = """
DO $isolation$
DECLARE name text; parent text; BEGIN
  FOR name IN SELECT table_name FROM information_schema.columns
    WHERE table_schema = current_schema() AND column_name = 'organisation_id' LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY organisation ON %I USING (organisation_id = acting_organisation() '
      'OR acting_organisation() = %L)', name, '*');
  END LOOP;
  ALTER TABLE organisations ENABLE ROW LEVEL SECURITY;
  CREATE POLICY organisation ON organisations USING (id = acting_organisation() OR acting_organisation() = '*');
  -- These tables refer to a destination or a mapping by its number. The comparison with * is made first and once per
  -- statement, so that a flush does not read the destinations. The ledger has no policy, because it refers to no
  -- destination and is kept longer than the batches that do.
  FOREACH name IN ARRAY ARRAY['batches', 'batch_states', 'exceptions', 'attempts', 'counts', 'rejections',
    'consent_stops', 'callback_events', 'schema_samples'] LOOP
    parent := CASE name WHEN 'schema_samples' THEN 'mapping' ELSE 'destination' END;
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY organisation ON %1$I USING ((SELECT acting_organisation()) = %4$L OR EXISTS ('
      'SELECT FROM %3$I p WHERE p.number = %1$I.%2$I AND p.organisation_id = acting_organisation()))',
      name, parent, parent || 's', '*');
  END LOOP;
  -- The rows of these tables belong to organisations through another table. A lane can belong to several of them.
  FOREACH name IN ARRAY ARRAY['lanes', 'mapped_duplicates', 'callbacks'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
  END LOOP;
  CREATE POLICY organisation ON lanes USING ((SELECT acting_organisation()) = '*' OR EXISTS (
    SELECT FROM destinations d WHERE d.lane = lanes.id AND d.organisation_id = acting_organisation()));
  CREATE POLICY organisation ON mapped_duplicates USING ((SELECT acting_organisation()) = '*' OR EXISTS (
    SELECT FROM batch_states s JOIN destinations d ON d.number = s.destination
    WHERE s.batch = mapped_duplicates.batch AND d.organisation_id = acting_organisation()));
  CREATE POLICY organisation ON callbacks USING ((SELECT acting_organisation()) = '*' OR EXISTS (
    SELECT FROM callback_events n JOIN destinations d ON d.number = n.destination
    WHERE n.callback = callbacks.id AND d.organisation_id = acting_organisation()));
END $isolation$
"""

TABLES = """
outcome_totals outcome_history intake_totals intake_steps notification_channels notifications incident_messages incidents
commit_probes destination_alerting
callback_events callbacks callback_destinations inbound_demand organisation_usage consent_stops journey_counts rejection_records rejections counts replays attempts exceptions
batch_states batches mapped_duplicates ledger ledger_generations schema_samples erasures console_sessions api_keys
event_names
"""


def upgrade() -> None:
    # A semicolon ends a statement if the next line is not indented, unlike in the body of a function.
    for statement in re.split(r";\n(?=[A-Z\n-])", UP):
        if re.sub(r"--.*", "", statement).strip():
            op.execute(statement)
    op.execute(ISOLATION)


OWNER_FUNCTIONS = """
attempts_of_batch lane_of create_day_partitions create_state_partition create_ledger_partition drop_day_partitions drop_state_partition
drop_ledger_partition
"""


def downgrade() -> None:
    op.execute(f"DROP TABLE {', '.join(TABLES.split())}")
    op.execute("DROP TABLE audit CASCADE")
    op.execute("DROP FUNCTION audit_seal")
    op.execute("ALTER TABLE mappings DROP CONSTRAINT mappings_published")
    op.execute(
        "DROP TABLE mapping_versions, mappings, confirmations, amazon_accounts, oauth_states, sign_ins, "
        "destinations, lanes, organisations, encryption_keys, balance_checks, readiness, secrets"
    )
    op.execute("DROP FUNCTION refuse_change, set_condition_starts, acting_organisation")
    op.execute(f"DROP FUNCTION {', '.join(OWNER_FUNCTIONS.split())}")
    op.execute("DROP SEQUENCE batch_ids, attempt_ids")
    op.execute("DROP DOMAIN instant")
