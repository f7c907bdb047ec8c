-- How many boxes of each class are there, and how many pass?
-- One row is a class that has a box.
--   category       class index
--   boxes          boxes of any score
--   pseudo_labels  boxes that score above the threshold of their class
-- Parameters:
--   $round       number of the round, complete or not
--   $thresholds  list of thresholds, in the order of the class indices
WITH scored AS (
    SELECT unnest(categories) AS category, unnest(scores) AS score
    FROM labels
    WHERE origin = 'round' AND round = $round
)
SELECT category, count(*) AS boxes,
       count(*) FILTER (score > ($thresholds::DOUBLE[])[category + 1]) AS pseudo_labels
FROM scored
GROUP BY category;
