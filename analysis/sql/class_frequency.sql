-- In what share of the images does each class occur? f(c) of the resampling rule (LVIS, arXiv 1908.03195, 4.3).
-- One row is a class of the data sets asked about, also one that never occurs; most frequent first.
--   class      class name
--   images     images with at least one box of the class
--   boxes      boxes of the class
--   frequency  images / all images that are labeled, those without any box among them
-- Parameters:
--   $datasets         labeled data sets whose ground truth counts; null for all labeled ones
--   $pseudo_datasets  unlabeled data sets whose pseudo labels (latest round) count as well; an empty list for none
WITH counted_images AS (
    SELECT dataset, key
    FROM labels
    WHERE origin = 'ground_truth' AND ($datasets IS NULL OR list_contains($datasets::VARCHAR[], dataset))
    UNION ALL
    SELECT dataset, key
    FROM labels
    WHERE origin = 'round' AND latest AND list_contains($pseudo_datasets::VARCHAR[], dataset)
),
counted_boxes AS (
    SELECT dataset, key, class
    FROM ground_truth
    WHERE NOT hidden AND ($datasets IS NULL OR list_contains($datasets::VARCHAR[], dataset))
    UNION ALL
    SELECT dataset, key, class
    FROM pseudo_labels
    WHERE list_contains($pseudo_datasets::VARCHAR[], dataset)
),
classes AS (
    SELECT class, min(category) AS category
    FROM categories
    JOIN datasets USING (dataset)
    WHERE labeled AND ($datasets IS NULL OR list_contains($datasets::VARCHAR[], dataset))
    GROUP BY class
),
counts AS (
    SELECT class, count(DISTINCT (dataset, key)) AS images, count(*) AS boxes
    FROM counted_boxes
    GROUP BY class
)
SELECT class, coalesce(images, 0) AS images, coalesce(boxes, 0) AS boxes,
       coalesce(images, 0) / (SELECT count(*) FROM counted_images) AS frequency
FROM classes
LEFT JOIN counts USING (class)
ORDER BY frequency DESC, boxes DESC, category;
