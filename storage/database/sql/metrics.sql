-- One row is one figure that a run noted at one step, from its metrics.jsonl.
--   run      training run
--   step     training step
--   dataset  data set that the figure is about, such as an AP while training; null for figures of training itself
--   metric   name of the figure; names inside names are joined by dots
--   value    the figure; null where it is no number
--   text     the figure as text
CREATE VIEW metrics AS
WITH lines AS (
    SELECT folders.run, TRY_CAST(json ->> 'step' AS BIGINT) AS step, json ->> 'dataset' AS dataset, json
    FROM workspace.metric_lines
    JOIN workspace.files USING (filename)
    JOIN workspace.folders USING (folder)
    WHERE json IS NOT NULL  -- the last line of a run at work may be half written
)
SELECT run, step, lines.dataset, leaf.fullkey[3:] AS metric, TRY_CAST(leaf.atom ->> '$' AS DOUBLE) AS value,
       leaf.atom ->> '$' AS text
FROM lines, json_tree(json) AS leaf
WHERE leaf.atom IS NOT NULL AND leaf.fullkey NOT IN ('$.step', '$.dataset');
