-- How do the pseudo labels change from round to round?
-- One row is a class of a complete round; class is null over all classes.
--   dataset        data set
--   class          class name; null over all
--   round          number of the round
--   boxes          boxes of any score
--   pseudo_labels  boxes above the round's threshold for their class
--   per_image      pseudo_labels / images of the round
--   mean_score     of the pseudo labels
--   change         pseudo_labels / those of the round before; null for the first
-- Parameters:
--   $dataset = null  a data set; null for all
WITH images AS (
    SELECT dataset, round, max(num_images) AS images
    FROM rounds
    WHERE complete AND ($dataset IS NULL OR dataset = $dataset)
    GROUP BY ALL
),
scored AS (
    SELECT dataset, round, category, count(*) AS boxes, count(*) FILTER (score > score_threshold) AS pseudo_labels,
           coalesce(sum(score::DOUBLE) FILTER (score > score_threshold), 0) AS score
    FROM boxes
    WHERE origin = 'round'
    GROUP BY ALL
),
summed AS (
    SELECT dataset, round, class, category, coalesce(sum(scored.boxes), 0)::BIGINT AS boxes,
           coalesce(sum(scored.pseudo_labels), 0)::BIGINT AS pseudo_labels, sum(score) AS score
    FROM thresholds
    LEFT JOIN scored USING (dataset, round, category)
    GROUP BY GROUPING SETS ((dataset, round, class, category), (dataset, round))
)
SELECT dataset, class, round, boxes, pseudo_labels, pseudo_labels / nullif(images, 0) AS per_image,
       score / nullif(pseudo_labels, 0) AS mean_score,
       pseudo_labels / nullif(lag(pseudo_labels) OVER (PARTITION BY dataset, category ORDER BY round), 0) AS change
FROM summed
JOIN images USING (dataset, round)
ORDER BY dataset, category NULLS FIRST, round;
