-- name: destination_figures
SELECT d.state, d.requests_per_second, d.burst, l.learned_rate, l.breaker, l.error_rate,
  coalesce(l.leased_until > now(), false) AS lane_owned, is_shared_account(d.number) AS shared_account,
  (SELECT row_to_json(c)::text FROM (
     SELECT coalesce(sum(accepted), 0)::bigint AS accepted, coalesce(sum(duplicates), 0)::bigint AS duplicates,
       coalesce(sum(rejected), 0)::bigint AS rejected, coalesce(sum(retrying), 0)::bigint AS retrying,
       coalesce(sum(delivered), 0)::bigint AS delivered, coalesce(sum(dead), 0)::bigint AS dead,
       coalesce(sum(expired), 0)::bigint AS expired, coalesce(sum(erased), 0)::bigint AS erased
     FROM counts WHERE destination = d.number) c) AS totals,
  (SELECT coalesce(json_agg(r), '[]')::text FROM (
     SELECT code, reason, sum(rejected)::bigint AS n FROM rejections WHERE destination = d.number
     GROUP BY code, reason ORDER BY 3 DESC LIMIT 50) r) AS rejected,
  (SELECT coalesce(json_agg(x), '[]')::text FROM (
     SELECT reason, count(*) AS n FROM exceptions WHERE destination = d.number AND status = 'dead' AND day >= '2000-01-01'
     GROUP BY reason) x) AS dead
FROM destinations d JOIN lanes l ON l.id = d.lane WHERE d.number = $1

-- name: oldest
SELECT min(accepted_at) AS oldest_waiting, min(first_event) AS earliest_expiry FROM batch_states
WHERE destination = $1 AND settled_at IS NULL
