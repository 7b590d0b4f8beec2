-- name: keep_secret
INSERT INTO secrets (name, sealed) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING

-- name: note_key
INSERT INTO encryption_keys (id, first_batch)
SELECT $1, coalesce((SELECT min(batch) FROM batch_states), (SELECT last_value FROM batch_ids))
-- Without this check, every call would search for the oldest batch.
WHERE NOT EXISTS (SELECT FROM encryption_keys WHERE id = $1) ON CONFLICT DO NOTHING

-- name: seals
SELECT id, greatest(0, p.last_value - first_batch) FROM encryption_keys, batch_ids p
