-- Which images are worth a human look?
-- One row is an image and a reason, the strongest of each reason first; an image may have several reasons.
-- The last two rounds of a data set are compared: label once more with `--weights student` to see where the teacher and
-- the student disagree.
--   reason     uncertain, crowded, rounds disagree or against the truth; the last needs truth that is known
--   dataset    data set
--   key        image
--   file_name  name in the annotation file or image folder
--   boxes      how strongly: boxes that the reason is about, as says tells
--   says       the reason in words
-- Parameters:
--   $limit = 10      images of each reason
--   $margin = 0.1    a score this near the threshold of its class is uncertain
--   $dataset = null  a data set; null for all
WITH reasons AS (
    SELECT dataset, key, 'uncertain' AS reason, count(*) AS boxes,
           count(*) || ' boxes score within ' || $margin || ' of the threshold' AS says
    FROM boxes
    WHERE origin = 'round' AND latest AND abs(score::DOUBLE - score_threshold) < $margin::DOUBLE
    GROUP BY dataset, key
    UNION ALL
    SELECT dataset, key, 'crowded', count(*), count(*) || ' pseudo labels'
    FROM pseudo_labels
    GROUP BY dataset, key
    UNION ALL
    SELECT dataset, key, 'rounds disagree', count(*),
           count(*) FILTER (change = 'appeared') || ' appeared and ' || count(*) FILTER (change = 'vanished')
           || ' vanished from round ' || any_value(older) || ' to ' || any_value(newer)
    FROM round_changes
    WHERE change IN ('appeared', 'vanished')
    GROUP BY dataset, key
    UNION ALL
    SELECT dataset, key, 'against the truth', sum(wrong + missed)::BIGINT,
           sum(wrong) || ' wrong and ' || sum(missed) || ' missed'
    FROM (
        SELECT dataset, key, 1 AS wrong, 0 AS missed
        FROM judged_boxes
        WHERE score > score_threshold AND NOT correct
        UNION ALL
        SELECT truth.dataset, truth.key, 0 AS wrong, 1 AS missed
        FROM judged_truth AS truth
        LEFT JOIN thresholds ON thresholds.dataset = truth.dataset AND thresholds.latest AND thresholds.category = truth.category
        WHERE found_score IS NULL OR found_score <= score_threshold
    )
    GROUP BY dataset, key
),
ranked AS (
    SELECT *, row_number() OVER (PARTITION BY reason ORDER BY boxes DESC, dataset, key) AS place
    FROM reasons
    WHERE $dataset IS NULL OR dataset = $dataset
)
SELECT reason, ranked.dataset, ranked.key, file_name, boxes, says
FROM ranked
LEFT JOIN images ON images.dataset = ranked.dataset AND images.key = ranked.key
WHERE place <= $limit
ORDER BY list_position(['uncertain', 'crowded', 'rounds disagree', 'against the truth'], reason), place;
