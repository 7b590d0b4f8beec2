-- name: lacking
SELECT DISTINCT n.verb || ' on ' || n.name
FROM unnest($1::text[], $2::text[], $3::text[]) AS n (name, verb, place)
JOIN pg_class c ON c.oid = to_regclass(n.name)
WHERE NOT CASE
  WHEN c.relkind = 'S' THEN has_sequence_privilege(c.oid, n.verb)
  WHEN n.place = '' THEN has_table_privilege(c.oid, n.verb)
  ELSE has_column_privilege(c.oid, n.place, n.verb) END
ORDER BY 1
