-- One row is one box of one image by one origin, whatever its score.
--   dataset          data set
--   key              image
--   image_id         id in the annotation file
--   class            class name
--   category         class index
--   score            1 for truth
--   x1               left edge, pixels of the image
--   y1               top edge
--   x2               right edge
--   y2               bottom edge
--   width            of the box, pixels
--   height           of the box, pixels
--   area             width x height
--   size_bin         small (area below 32 x 32), medium, large (from 96 x 96), as COCO bins
--   tiny             whether the area is below 16 x 16
--   origin           ground_truth, hidden_truth (kept apart), round (a labeling job), online (while training)
--   round            number of the round; null for other origins
--   latest           whether the round is its data set's latest complete one
--   score_threshold  boxes of the class and round count as pseudo labels above this score; null for other origins
--   run              run that labeled it while training; null for other origins
--   step             training step of the teacher; null for truth
CREATE VIEW boxes AS
WITH flat AS (
    SELECT dataset, folder, key, image_id, origin, round, latest, score_threshold, class_thresholds, run, step,
           unnest(categories) AS category, unnest(scores) AS score, unnest(boxes) AS box
    FROM workspace.label_rows
),
measured AS (
    SELECT * EXCLUDE (box), box[1] AS x1, box[2] AS y1, box[3] AS x2, box[4] AS y2,
           box[3] - box[1] AS width, box[4] - box[2] AS height, width::DOUBLE * height AS area
    FROM flat
)
SELECT measured.dataset, key, image_id, class, measured.category, score, x1, y1, x2, y2, width, height, area,
       CASE WHEN area < 32 * 32 THEN 'small' WHEN area < 96 * 96 THEN 'medium' ELSE 'large' END AS size_bin,
       area < 16 * 16 AS tiny,
       origin, round, latest,
       workspace.class_threshold(measured.category, class_thresholds, score_threshold) AS score_threshold, run, step
FROM measured
LEFT JOIN workspace.classes USING (folder, category);
