-- What is a condition, as DuckDB's parser reads it? One row; nothing of the condition is run.
--   error_type     null when it is one expression; "parser" when it is no SQL; else it is more than one statement
--   error_message  the parser's
--   has_query      whether a query stands inside
--   volatile       a function inside that changes something or answers differently each time; null without one
-- Parameters:
--   condition  what the user wrote
WITH parsed AS (
    SELECT json_serialize_sql('SELECT ' || $condition) AS tree
)
SELECT tree ->> 'error_type' AS error_type,
       tree ->> 'error_message' AS error_message,
       list_contains(tree ->> '$..class', 'SUBQUERY') AS has_query,
       (
           SELECT min(function_name)
           FROM duckdb_functions()
           -- error() only ends the export
           WHERE stability = 'VOLATILE' AND function_name <> 'error'
                 AND list_contains(tree ->> '$..function_name', function_name)
       ) AS volatile
FROM parsed;
