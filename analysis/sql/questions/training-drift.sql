-- How do the teacher's labels change while a run trains?
-- One row is a class in a stretch of a run's steps, from the labels that the run wrote while training.
--   run            training run
--   class          class name; null over all
--   first_step     first step of the stretch that wrote labels
--   last_step      last one
--   images         images labeled in the stretch
--   boxes          boxes of any score
--   pseudo_labels  boxes that score above $score_threshold
--   per_image      pseudo_labels / images
--   mean_score     of the pseudo labels
-- Parameters:
--   $run = null             a run; null for all
--   $bins = 8               stretches of equal length
--   $score_threshold = 0.5  boxes above it count as pseudo labels
WITH spans AS (
    SELECT run, min(step) AS low, max(step) - min(step) + 1 AS length
    FROM labels
    WHERE origin = 'online' AND ($run IS NULL OR run = $run)
    GROUP BY run
),
images AS (
    SELECT run, dataset, floor((step - low) * $bins / length) AS bin, min(step) AS first_step, max(step) AS last_step,
           count(*) AS images
    FROM labels
    JOIN spans USING (run)
    WHERE origin = 'online'
    GROUP BY ALL
),
scored AS (
    SELECT run, category, floor((step - low) * $bins / length) AS bin, count(*) AS boxes,
           count(*) FILTER (score > $score_threshold::DOUBLE) AS pseudo_labels,
           sum(score::DOUBLE) FILTER (score > $score_threshold::DOUBLE) AS score
    FROM online_labels
    JOIN spans USING (run)
    GROUP BY ALL
),
summed AS (
    SELECT run, class, category, bin, any_value(first_step) AS first_step, any_value(last_step) AS last_step,
           any_value(images) AS images, coalesce(sum(boxes), 0)::BIGINT AS boxes,
           coalesce(sum(pseudo_labels), 0)::BIGINT AS pseudo_labels, sum(score) AS score
    FROM images
    JOIN (SELECT DISTINCT dataset, class, category FROM categories) USING (dataset)
    LEFT JOIN scored USING (run, bin, category)
    GROUP BY GROUPING SETS ((run, bin, class, category), (run, bin))
)
SELECT run, class, first_step, last_step, images, boxes, pseudo_labels, pseudo_labels / images AS per_image,
       score / nullif(pseudo_labels, 0) AS mean_score
FROM summed
ORDER BY run, category NULLS FIRST, bin;
