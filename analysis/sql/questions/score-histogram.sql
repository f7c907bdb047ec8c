-- How are the scores of each class spread, and how many boxes of each score are right?
-- One row is a class and a bin of scores that holds a box of the latest complete round, whatever its score.
--   dataset  data set
--   class    class name
--   low      least score of the bin
--   boxes    boxes in it; a score of 1 lies in the last bin
--   judged   those of them in images whose truth is known
--   correct  those of judged that match a true box of their class, IoU at least 0.5
-- Parameters:
--   $bins = 20       bins of equal width between 0 and 1
--   $dataset = null  a data set; null for all
WITH scored AS (
    SELECT dataset, class, category, least(floor(score::DOUBLE * $bins), $bins - 1) AS bin, count(*) AS boxes
    FROM boxes
    WHERE origin = 'round' AND latest AND ($dataset IS NULL OR dataset = $dataset)
    GROUP BY ALL
),
judged AS (
    SELECT dataset, category, least(floor(score::DOUBLE * $bins), $bins - 1) AS bin,
           count(*) AS judged, count(*) FILTER (correct) AS correct
    FROM judged_boxes
    GROUP BY ALL
)
SELECT dataset, class, bin / $bins AS low, boxes, coalesce(judged, 0) AS judged, coalesce(correct, 0) AS correct
FROM scored
LEFT JOIN judged USING (dataset, category, bin)
ORDER BY dataset, category, bin;
