-- How are the scores of each class spread?
-- One row is a class and a bin of scores that holds a box, ordered by both.
--   category  class index
--   score     middle of the bin
--   boxes     boxes in it
-- Parameters:
--   $round  number of the round, complete or not
--   $bins   bins of equal width between 0 and 1; a score of 1 lies in the last
WITH scored AS (
    SELECT unnest(categories) AS category, unnest(scores) AS score
    FROM labels
    WHERE origin = 'round' AND round = $round
)
SELECT category, (least(floor(score * $bins), $bins - 1) + 0.5) / $bins AS score, count(*) AS boxes
FROM scored
GROUP BY ALL
ORDER BY ALL;
