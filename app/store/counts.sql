-- name: add_rejections
INSERT INTO rejections AS r (day, writer, destination, code, reason, mapping, field, rejected)
SELECT (now() AT TIME ZONE 'UTC')::date, $1, x.*
FROM unnest($2::int[], $3::text[], $4::text[], $5::int[], $6::text[], $7::bigint[])
  AS x (destination, code, reason, mapping, field, rejected)
ON CONFLICT (destination, day, writer, code, reason, mapping, field)
DO UPDATE SET rejected = r.rejected + excluded.rejected, last_at = now()
RETURNING last_at

-- name: add_consent_stops
INSERT INTO consent_stops AS s (day, writer, destination, reason, basis, events)
SELECT (now() AT TIME ZONE 'UTC')::date, $1, x.*
FROM unnest($2::int[], $3::text[], $4::text[], $5::bigint[]) AS x (destination, reason, basis, events)
ON CONFLICT (destination, day, writer, reason, basis)
DO UPDATE SET events = s.events + excluded.events

-- name: consent_stops
WITH by_basis AS (
  -- Rejections whose legal basis was recorded.
  SELECT reason, basis, sum(events)::bigint AS events FROM consent_stops WHERE destination = $1
  GROUP BY reason, basis
), by_reason AS (
  -- All rejections for lack of consent.
  SELECT reason, sum(rejected)::bigint AS events FROM rejections
  WHERE destination = $1 AND code = 'CONSENT_NOT_PROVIDED' GROUP BY reason
)
SELECT reason, basis, events FROM by_basis
UNION ALL
-- Rejections without a recorded basis: the rest of each reason.
SELECT reason, NULL, rest FROM by_reason r CROSS JOIN LATERAL (
  SELECT (r.events - coalesce(sum(b.events), 0))::bigint AS rest FROM by_basis b
  WHERE b.reason = r.reason
) x WHERE rest > 0
ORDER BY events DESC, reason, basis

-- name: add
INSERT INTO counts AS c (day, writer, destination, accepted, duplicates, rejected, retrying, delivered, dead,
  expired, erased)
SELECT (now() AT TIME ZONE 'UTC')::date, $1, d.*
FROM unnest($2::int[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[],
    $9::bigint[], $10::bigint[])
  AS d (destination, accepted, duplicates, rejected, retrying, delivered, dead, expired, erased)
-- In order of destination, so that two writers that share rows cannot deadlock.
ORDER BY d.destination
ON CONFLICT (destination, day, writer) DO UPDATE
SET accepted = c.accepted + excluded.accepted, duplicates = c.duplicates + excluded.duplicates,
  rejected = c.rejected + excluded.rejected, retrying = c.retrying + excluded.retrying,
  delivered = c.delivered + excluded.delivered, dead = c.dead + excluded.dead,
  expired = c.expired + excluded.expired, erased = c.erased + excluded.erased
