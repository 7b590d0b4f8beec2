-- name: delete_expired
DELETE FROM console_sessions WHERE seen_at < now() - $1::interval OR created_at < now() - $2::interval

-- name: begin
-- The previous release reads only `role`.
INSERT INTO console_sessions (organisation_id, digest, key_digest, subject, display_name, role, roles,
  provider_session, signed_in_at)
VALUES ($1, $2, $3, $4, $5, ($6::text[])[1], $6, $7,
  greatest(to_timestamp($8::float8), timestamptz '2000-01-01+00')) RETURNING id

-- name: find
SELECT s.id, s.key_digest, s.subject, s.display_name AS name, s.signed_in_at,
  coalesce(s.roles, array_remove(ARRAY[s.role], NULL)) AS roles, s.created_at, s.seen_at,
  -- The previous release writes sessions of keys without their organisation.
  coalesce(k.organisation_id, s.organisation_id) AS organisation, k.id AS key, k.name AS key_name,
  coalesce(k.scopes, '{}') AS scopes, k.destination_ids, s.acting_for,
  coalesce(o.name, '') AS organisation_name
FROM console_sessions s LEFT JOIN api_keys k ON k.digest = s.key_digest
  AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
LEFT JOIN organisations o ON o.id = coalesce(s.acting_for, k.organisation_id, s.organisation_id)
WHERE s.seen_at >= now() - $1::interval AND s.created_at >= now() - $2::interval
  AND s.digest = $3

-- name: note
UPDATE console_sessions SET seen_at = now() WHERE digest = $1 AND seen_at < now() - $2::interval

-- name: page
SELECT s.id, s.key_digest, s.subject, s.display_name AS name, s.signed_in_at,
  coalesce(s.roles, array_remove(ARRAY[s.role], NULL)) AS roles, s.created_at, s.seen_at,
  -- The previous release writes sessions of keys without their organisation.
  coalesce(k.organisation_id, s.organisation_id) AS organisation, k.id AS key, k.name AS key_name,
  coalesce(k.scopes, '{}') AS scopes, k.destination_ids, s.acting_for,
  coalesce(o.name, '') AS organisation_name
FROM console_sessions s LEFT JOIN api_keys k ON k.digest = s.key_digest
  AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
LEFT JOIN organisations o ON o.id = coalesce(s.acting_for, k.organisation_id, s.organisation_id)
WHERE s.seen_at >= now() - $1::interval AND s.created_at >= now() - $2::interval
  AND s.organisation_id = acting_organisation()
  AND (s.subject IS NOT NULL OR k.id IS NOT NULL OR s.key_digest = $3)
  AND ($4::text IS NULL OR NOT $4 = ANY (coalesce(k.scopes, '{}')))
  AND ($5::timestamptz IS NULL OR (s.created_at, s.id) > ($5, $6))
  AND ($7::text IS NULL OR s.id = $7)
ORDER BY s.created_at, s.id LIMIT $8

-- name: end
WITH ended AS (
  -- The selected sessions.
  DELETE FROM console_sessions
  WHERE ($1::bytea IS NULL OR digest = $1) AND ($2::text IS NULL OR id = $2)
    AND ($3::text IS NULL OR subject = $3)
    AND ($4::text IS NULL OR provider_session = $4 OR (provider_session IS NULL AND $3 IS NOT NULL))
    AND ($5::text IS NULL OR organisation_id <> $5 OR roles IS DISTINCT FROM $6::text[])
  RETURNING organisation_id, id, subject, display_name)
INSERT INTO audit (organisation_id, actor, action, subject, after)
SELECT organisation_id, $7, $8, id, jsonb_strip_nulls(jsonb_build_object(
  'reason', $9::text, 'sub', subject, 'name', display_name)) FROM ended

-- name: delete_logout_tokens
DELETE FROM logout_tokens WHERE received_at < now() - $1::interval
