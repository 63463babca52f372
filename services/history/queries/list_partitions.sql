-- The numbers of the partitions of tickets, in the schema that search_path leads to; the first first.
SELECT substring(relname FROM '[0-9]+$')::bigint AS "number!"
FROM pg_class
WHERE relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'tickets'::regclass)
    AND relispartition
    AND relkind = 'r'
    AND relname ~ '^tickets_p[0-9]+$'
ORDER BY 1
