-- Does a score say how likely a box is right?
-- One row is a bin of scores of one class, over images whose truth is known; class is null over all classes.
-- A calibrated detector has a precision near mean_score in every bin; sum(share * abs(gap)) is its calibration error.
--   class       class name; null over all
--   low         least score of the bin
--   boxes       boxes of the latest complete round in it; a score of 1 lies in the last bin
--   share       boxes / boxes of the class in all bins
--   mean_score  of these boxes
--   precision   share of them that match a true box of their class, IoU at least 0.5
--   gap         precision - mean_score: below 0 the detector is too sure
-- Parameters:
--   $bins = 10       bins of equal width between 0 and 1
--   $dataset = null  a data set; null for all
WITH binned AS (
    SELECT class, category, least(floor(score::DOUBLE * $bins), $bins - 1) AS bin, count(*) AS boxes,
           avg(score::DOUBLE) AS mean_score, avg(correct::INTEGER) AS precision
    FROM judged_boxes
    WHERE $dataset IS NULL OR dataset = $dataset
    GROUP BY GROUPING SETS ((class, category, bin), (bin))
)
SELECT class, bin / $bins AS low, boxes, boxes / sum(boxes) OVER (PARTITION BY class) AS share, mean_score, precision,
       precision - mean_score AS gap
FROM binned
ORDER BY category NULLS FIRST, class, bin;
