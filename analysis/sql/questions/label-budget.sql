-- Which classes would gain most from 100 more labels?
-- One row is a class of the labeled data, the greatest expected gain first.
-- A heuristic: the error falls as a power of the labels (Hestness et al. 2017, arXiv 1712.00409), so that of n labels m more take
-- error x (1 - (n / (n + m)) ^ exponent) away. It knows nothing of classes that help each other.
--   class        class name
--   labels       true boxes to train on, n
--   error        1 - what is measured of the class now
--   measured_by  AP (best of the runs' last evaluations), else F1 (pseudo labels against the truth), else score (their mean)
--   gain         error that $more labels are expected to take away
-- Parameters:
--   $more = 100      labels to be given to the class
--   $exponent = 0.5  of the power law
--   $labeled = null  data set that is trained on; null for all with truth to train on that no run is scored on
WITH trained AS (
    SELECT dataset
    FROM datasets
    WHERE labeled
      AND CASE WHEN $labeled IS NULL THEN dataset NOT IN (SELECT dataset FROM evaluations WHERE dataset IS NOT NULL)
               ELSE dataset = $labeled END
),
known AS (
    SELECT class, min(category) AS category
    FROM categories
    JOIN trained USING (dataset)
    GROUP BY class
),
counted AS (
    SELECT class, count(*) AS labels
    FROM ground_truth
    JOIN trained USING (dataset)
    WHERE NOT hidden
    GROUP BY class
),
by_run AS (
    SELECT run, class, arg_max(value, step) AS ap
    FROM evaluations
    WHERE metric = 'AP' AND class IS NOT NULL AND value IS NOT NULL
    GROUP BY run, class
),
by_ap AS (
    SELECT class, max(ap) / 100 AS ap
    FROM by_run
    GROUP BY class
),
judged AS (
    SELECT class, count(*) FILTER (score > score_threshold) AS pseudo_labels,
           count(*) FILTER (score > score_threshold AND correct) AS correct
    FROM judged_boxes
    GROUP BY class
),
true_boxes AS (
    SELECT class, count(*) AS truth
    FROM judged_truth
    GROUP BY class
),
by_f1 AS (
    SELECT class, 2 * coalesce(correct, 0) / (coalesce(pseudo_labels, 0) + truth) AS f1
    FROM true_boxes
    LEFT JOIN judged USING (class)
),
by_score AS (
    SELECT class, avg(score::DOUBLE) AS score
    FROM pseudo_labels
    GROUP BY class
),
measured AS (
    SELECT class, category, coalesce(labels, 0) AS labels, 1 - coalesce(ap, f1, score, 0) AS error,
           CASE WHEN ap IS NOT NULL THEN 'AP' WHEN f1 IS NOT NULL THEN 'F1' ELSE 'score' END AS measured_by
    FROM known
    LEFT JOIN counted USING (class)
    LEFT JOIN by_ap USING (class)
    LEFT JOIN by_f1 USING (class)
    LEFT JOIN by_score USING (class)
)
SELECT class, labels, error, measured_by,
       error * (1 - (labels / (labels + $more::DOUBLE)) ^ $exponent::DOUBLE) AS gain
FROM measured
ORDER BY gain DESC, category;
