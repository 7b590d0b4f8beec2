-- name: columns
SELECT coalesce(parent.relname, c.relname) AS table, c.relname AS stored_as, a.attname AS name,
  t.typname = 'bytea' AS is_binary
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
-- `t` is the type of the values: of a domain its base type, of an array the type of its members.
JOIN pg_type d ON d.oid = a.atttypid
JOIN pg_type e ON e.oid = CASE WHEN d.typbasetype <> 0 THEN d.typbasetype ELSE d.oid END
JOIN pg_type t ON t.oid = CASE WHEN e.typcategory = 'A' THEN e.typelem ELSE e.oid END
LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
LEFT JOIN pg_class parent ON parent.oid = i.inhparent
WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace
  AND t.typname IN ('text', 'varchar', 'bpchar', 'name', 'json', 'jsonb', 'xml', 'bytea')
ORDER BY c.relname, a.attnum

-- name: pages
SELECT pg_relation_size($1::text::regclass) / current_setting('block_size')::int
