-- Of what size are the boxes, in the truth and in the pseudo labels?
-- One row is a size of the boxes of one class of a data set; class is null over all classes.
-- tiny is a part of small, so tiny is counted twice where all sizes are added.
--   dataset       data set
--   class         class name; null over all
--   size_bin      tiny (area below 16 x 16), small (below 32 x 32), medium, large (from 96 x 96)
--   truth_boxes   true boxes
--   truth_share   truth_boxes / true boxes of the class of every size
--   pseudo_boxes  pseudo labels of the latest complete round
--   pseudo_share  pseudo_boxes / pseudo labels of the class of every size
-- Parameters:
--   $dataset = null  a data set; null for all
WITH counted AS (
    SELECT dataset, class, category, size_bin, tiny, true AS is_truth, count(*) AS boxes
    FROM ground_truth
    GROUP BY ALL
    UNION ALL
    SELECT dataset, class, category, size_bin, tiny, false AS is_truth, count(*) AS boxes
    FROM pseudo_labels
    GROUP BY ALL
),
binned AS (
    SELECT * EXCLUDE (size_bin, tiny),
           unnest(CASE WHEN tiny THEN [NULL, 'tiny', size_bin] ELSE [NULL, size_bin] END) AS size_bin
    FROM counted
    WHERE $dataset IS NULL OR dataset = $dataset
),
summed AS (
    SELECT dataset, class, category, size_bin,
           coalesce(sum(boxes) FILTER (is_truth), 0)::BIGINT AS truth_boxes,
           coalesce(sum(boxes) FILTER (NOT is_truth), 0)::BIGINT AS pseudo_boxes
    FROM binned
    GROUP BY GROUPING SETS ((dataset, class, category, size_bin), (dataset, size_bin))
)
SELECT summed.dataset, summed.class, summed.size_bin, summed.truth_boxes,
       summed.truth_boxes / nullif(whole.truth_boxes, 0) AS truth_share,
       summed.pseudo_boxes, summed.pseudo_boxes / nullif(whole.pseudo_boxes, 0) AS pseudo_share
FROM summed
JOIN summed AS whole
  ON whole.dataset = summed.dataset AND whole.class IS NOT DISTINCT FROM summed.class AND whole.size_bin IS NULL
WHERE summed.size_bin IS NOT NULL
ORDER BY summed.dataset, summed.category NULLS FIRST, list_position(['tiny', 'small', 'medium', 'large'], summed.size_bin);
