-- What do the public views hold?
--   view     its name
--   row      what one row is
--   columns  list of the name and the meaning of each column, in order
SELECT view_name AS view, duckdb_views.comment AS row,
       list([column_name, duckdb_columns.comment] ORDER BY column_index) AS columns
FROM duckdb_columns()
JOIN duckdb_views() ON view_oid = table_oid AND duckdb_views.database_oid = duckdb_columns.database_oid
WHERE duckdb_views.schema_name = 'main' AND duckdb_views.comment IS NOT NULL
GROUP BY view_name, duckdb_views.comment;
