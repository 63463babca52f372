-- Whether tables are being built that are of the same make as those that serve: a later version may have others.
SELECT to_regnamespace('projection_next') IS NOT NULL AND NOT EXISTS (
    SELECT table_name, column_name, data_type
    FROM information_schema.columns
    WHERE table_schema = 'projection' AND table_name !~ '_p[0-9]+$'
    EXCEPT
    SELECT table_name, column_name, data_type
    FROM information_schema.columns
    WHERE table_schema = 'projection_next'
) AS "is_begun!"
