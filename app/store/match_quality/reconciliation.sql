-- name: batches_of_days
SELECT s.batch AS id, s.destination, s.day, s.accepted_at, s.due_at, s.tries, s.first_event, s.disposition,
  s.settled_at, s.reason, s.attempts, coalesce(s.replays, '{}') AS replays
FROM batch_states s
WHERE s.destination = $1 AND s.batch < $4 AND s.last_event >= $2 AND s.first_event < $3
  -- Without its partition of batches, the batch was dropped.
  AND to_regclass('batches_p' || to_char(s.day, 'YYYYMMDD')) IS NOT NULL
ORDER BY s.batch DESC LIMIT $5

-- name: unsent
SELECT day, mapping,
  coalesce(sum(rejected) FILTER (WHERE code = 'CONSENT_NOT_PROVIDED'), 0)::bigint AS without_consent,
  coalesce(sum(rejected) FILTER (WHERE reason = 'event_id_conflict'), 0)::bigint AS repeated_ids,
  coalesce(sum(rejected) FILTER (WHERE code <> 'CONSENT_NOT_PROVIDED' AND reason <> 'event_id_conflict'), 0
  )::bigint AS rejected
FROM rejections WHERE destination = $1 AND day BETWEEN $2 AND $3 GROUP BY day, mapping

-- name: mapped_duplicates
SELECT d.day, d.batch, d.place FROM mapped_duplicates d JOIN batch_states s ON s.batch = d.batch
WHERE s.destination = $1 AND d.day BETWEEN $2 AND $3

-- name: versions
SELECT m.number AS mapping, v.version, v.document::text AS document,
  v.version IS NOT DISTINCT FROM m.published_version AS is_current, d.dataset_name
FROM mapping_versions v JOIN mappings m ON m.id = v.mapping
JOIN destinations d ON d.id = m.destination
WHERE d.number = $1 AND m.organisation_id = acting_organisation()
