-- name: note_use
UPDATE api_keys SET last_used_at = now() WHERE id IN (SELECT id FROM api_keys
  WHERE id = ANY($1) AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')
  -- Without SKIP LOCKED, two processes that record the same keys in different orders could deadlock.
  FOR NO KEY UPDATE SKIP LOCKED)
