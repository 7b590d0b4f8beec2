-- name: begin
INSERT INTO replays (organisation_id, id, destination, requested_by, selection)
VALUES (acting_organisation(), $1, $2, $3, $4::text::jsonb) RETURNING number

-- name: requeue
UPDATE replays SET replayed = replayed + $2
WHERE organisation_id = acting_organisation() AND number = $1
