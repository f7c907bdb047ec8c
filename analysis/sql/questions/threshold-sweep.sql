-- What would each score threshold give: precision, recall and F1, by class and size?
-- One row is a score threshold for one class and size, over images whose truth is known; class and size_bin are null over all.
-- truth, found and recall go by the size of the true box, the others by that of the pseudo label. tiny is a part of small.
--   class            class name; null over all
--   size_bin         tiny, small, medium or large; null over all
--   score_threshold  boxes of the latest complete round count when they score strictly above it
--   truth            true boxes
--   found            true boxes that a counted box of their class matches, IoU at least 0.5
--   pseudo_labels    boxes that count
--   correct          those that match
--   precision        correct / pseudo_labels
--   recall           found / truth
--   f1               harmonic mean of precision and recall
-- Parameters:
--   $steps = 20      thresholds: 0, 1 / $steps, 2 / $steps, … below 1
--   $dataset = null  a data set; null for all
WITH counted AS (
    -- passed: how many thresholds lie below the score; score x steps is exact in double precision
    SELECT class, size_bin, tiny, ceil(score::DOUBLE * $steps::INTEGER)::INTEGER AS passed,
           count(*) AS pseudo_labels, count(*) FILTER (correct) AS correct, 0 AS truth, 0 AS found
    FROM judged_boxes
    WHERE $dataset IS NULL OR dataset = $dataset
    GROUP BY ALL
    UNION ALL
    SELECT class, size_bin, tiny, coalesce(ceil(found_score::DOUBLE * $steps::INTEGER), 0)::INTEGER AS passed,
           0 AS pseudo_labels, 0 AS correct, count(*) AS truth, count(*) FILTER (found_score IS NOT NULL) AS found
    FROM judged_truth
    WHERE $dataset IS NULL OR dataset = $dataset
    GROUP BY ALL
),
binned AS (
    SELECT * EXCLUDE (size_bin, tiny),
           unnest(CASE WHEN tiny THEN [NULL, 'tiny', size_bin] ELSE [NULL, size_bin] END) AS size_bin
    FROM counted
),
summed AS (
    SELECT class, size_bin, passed, sum(pseudo_labels) AS pseudo_labels, sum(correct) AS correct,
           sum(truth) AS truth, sum(found) AS found
    FROM binned
    GROUP BY GROUPING SETS ((class, size_bin, passed), (size_bin, passed))
),
cells AS (
    SELECT class, size_bin, sum(truth)::BIGINT AS truth
    FROM summed
    GROUP BY ALL
),
swept AS (
    SELECT cells.class, cells.size_bin, step, cells.truth,
           coalesce(sum(found) OVER above, 0)::BIGINT AS found,
           coalesce(sum(pseudo_labels) OVER above, 0)::BIGINT AS pseudo_labels,
           coalesce(sum(correct) OVER above, 0)::BIGINT AS correct
    FROM cells
    CROSS JOIN range($steps::INTEGER) AS steps(step)
    LEFT JOIN summed
      ON summed.class IS NOT DISTINCT FROM cells.class AND summed.size_bin IS NOT DISTINCT FROM cells.size_bin
     AND summed.passed = step + 1  -- what passes this threshold and not the next
    WINDOW above AS (PARTITION BY cells.class, cells.size_bin ORDER BY step DESC)
)
SELECT class, size_bin, step / $steps::INTEGER AS score_threshold, truth, found, pseudo_labels, correct,
       correct / nullif(pseudo_labels, 0) AS precision, found / nullif(truth, 0) AS recall,
       2 * precision * recall / nullif(precision + recall, 0) AS f1
FROM swept
ORDER BY class NULLS FIRST, list_position(['tiny', 'small', 'medium', 'large'], size_bin) NULLS FIRST, step;
