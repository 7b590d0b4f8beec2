-- name: newest
SELECT id, at, actor, action, subject, destination AS destination_id, before, after, sequence,
  encode(prev_hash, 'hex') AS prev_hash, encode(hash, 'hex') AS hash
FROM audit WHERE organisation_id = acting_organisation()
  -- A part of the actor is enough, because a person is stored as `name (oidc:subject)`.
  AND ($1::text IS NULL OR position(lower($1) IN lower(actor)) > 0)
  AND ($2::text IS NULL OR split_part(action, '.', 1) = $2) AND ($3::text IS NULL OR action = $3)
  AND ($4::text IS NULL OR subject = $4 OR destination = $4)
  AND ($5::text IS NULL OR destination = $5)
  AND ($6::timestamptz IS NULL OR at >= $6) AND ($7::timestamptz IS NULL OR at < $7)
  AND ($8::text[] IS NULL OR destination = ANY ($8)) AND ($9::bigint IS NULL OR id < $9)
ORDER BY id DESC LIMIT $10

-- name: names
SELECT id, name FROM destinations WHERE organisation_id = acting_organisation() AND id = ANY ($1)
UNION ALL
SELECT id, name FROM mappings WHERE organisation_id = acting_organisation() AND id = ANY ($1)
UNION ALL
SELECT id, name FROM api_keys WHERE organisation_id = acting_organisation() AND id = ANY ($1)

-- name: chain
-- `members` contains the texts that the database's trigger hashes. A jsonb has the same text in every session.
SELECT sequence AS number, id, prev_hash, hash, ARRAY[sequence::text, id::text,
  to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'), organisation_id, actor, action, subject,
  destination, before::text, after::text] AS members
FROM audit WHERE sequence > $1 ORDER BY sequence LIMIT $2

-- name: unlinked
SELECT sequence AS number, id, prev_hash, hash, '{}'::text[] AS members FROM audit
WHERE sequence IS NULL OR hash IS NULL ORDER BY id LIMIT 1

-- name: links_of
-- `members` contains the texts that the database's trigger hashes. A jsonb has the same text in every session.
SELECT sequence AS number, id, prev_hash, hash, ARRAY[sequence::text, id::text,
  to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'), organisation_id, actor, action, subject,
  destination, before::text, after::text] AS members
FROM audit WHERE organisation_id = acting_organisation() AND id = ANY ($1::bigint[])

-- name: record
INSERT INTO audit (organisation_id, actor, action, subject, destination, before, after)
VALUES (acting_organisation(), $1, $2, $3,
  -- The row belongs to the destination of its subject, if it has one.
  CASE WHEN $3 LIKE 'dst\_%' THEN $3 ELSE coalesce(
    (SELECT destination FROM mappings WHERE organisation_id = acting_organisation() AND id = $3),
    (SELECT destination FROM incidents WHERE organisation_id = acting_organisation() AND id = $3)) END,
  $4::text::jsonb, $5::text::jsonb)
