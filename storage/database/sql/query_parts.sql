-- What does a query consist of, as DuckDB's parser reads it? One row; nothing of the query is run.
--   error            why it is no query that can be taken apart; null when it is one
--   writing          the first part that changes something; null without one
--   table_functions  names of the functions that it reads from
--   macros           names of the table functions that are queries themselves
-- Parameters:
--   query  what the user wrote
WITH parsed AS (
    SELECT json_serialize_sql($query) AS tree
)
SELECT tree ->> 'error_message' AS error,
       list_filter(
           tree ->> '$..type',
           lambda type: suffix(type, '_NODE')
               AND type NOT IN ('SELECT_NODE', 'SET_OPERATION_NODE', 'RECURSIVE_CTE_NODE', 'CTE_NODE')
       )[1] AS writing,
       tree ->> '$..function.function_name' AS table_functions,
       (SELECT list(function_name) FROM duckdb_functions() WHERE function_type = 'table_macro') AS macros
FROM parsed;
