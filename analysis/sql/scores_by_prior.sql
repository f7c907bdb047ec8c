-- Above which score does each class have as many boxes an image as in the labeled data (after LabelMatch, CVPR 2022)?
-- One row is a class, in the order of the class indices.
--   category      class index
--   boxes         boxes of any score in the round
--   labeled_rate  true boxes an image of the labeled data; null where no image is labeled
--   expected      labeled_rate x images of the round, rounded: as many boxes are wanted
--   score         score of the first box too many; null where the round has no more boxes than are wanted
-- Parameters:
--   $round    number of the round, complete or not
--   $classes  list of class names, in the order of the class indices
WITH classes AS (
    SELECT unnest(range(len($classes::VARCHAR[])))::INTEGER AS category, unnest($classes::VARCHAR[]) AS class
),
truth AS (
    SELECT class, count(*) AS boxes
    FROM ground_truth
    WHERE NOT hidden
    GROUP BY class
),
images AS (
    SELECT count(*) FILTER (origin = 'ground_truth') AS labeled,
           count(*) FILTER (origin = 'round' AND round = $round) AS pseudo_labeled
    FROM labels
),
rates AS (
    SELECT category, coalesce(truth.boxes, 0) / nullif(labeled, 0) AS labeled_rate, pseudo_labeled
    FROM classes
    CROSS JOIN images
    LEFT JOIN truth USING (class)
),
wanted AS (
    SELECT category, labeled_rate, round(labeled_rate * pseudo_labeled)::BIGINT AS expected
    FROM rates
),
scored AS (
    SELECT unnest(categories) AS category, unnest(scores) AS score
    FROM labels
    WHERE origin = 'round' AND round = $round
),
ranked AS (
    SELECT category, score, row_number() OVER (PARTITION BY category ORDER BY score DESC) AS place
    FROM scored
)
SELECT wanted.category, count(place) AS boxes, labeled_rate, expected,
       max(score) FILTER (place = expected + 1)::DOUBLE AS score
FROM wanted
LEFT JOIN ranked USING (category)
GROUP BY ALL
ORDER BY category;
