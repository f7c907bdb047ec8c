-- Which boxes does a condition choose from? One row is a box of the label table `label_rows`, in its order.
-- The columns have the names, values and meaning that they have in the view `boxes` of a workspace, but for the last.
--   box_number  counts the boxes of the table from 0
-- The variable `round` says whose boxes they are: dataset, number, classes (their names), thresholds (of each).
CREATE VIEW boxes AS
WITH flat AS (
    SELECT key, image_id, step, unnest(categories) AS category, unnest(scores) AS score, unnest(boxes) AS box
    FROM label_rows
),
measured AS (
    SELECT * EXCLUDE (box), box[1] AS x1, box[2] AS y1, box[3] AS x2, box[4] AS y2,
           box[3] - box[1] AS width, box[4] - box[2] AS height, width::DOUBLE * height AS area
    FROM flat
)
SELECT getvariable('round').dataset::VARCHAR AS dataset,
       key, image_id,
       getvariable('round').classes[category + 1]::VARCHAR AS class,
       category, score, x1, y1, x2, y2, width, height, area,
       CASE WHEN area < 32 * 32 THEN 'small' WHEN area < 96 * 96 THEN 'medium' ELSE 'large' END AS size_bin,
       area < 16 * 16 AS tiny,
       getvariable('round').number::INTEGER AS round,
       getvariable('round').thresholds[category + 1]::DOUBLE AS score_threshold,
       step,
       row_number() OVER () - 1 AS box_number
FROM measured;
