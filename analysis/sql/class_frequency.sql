-- In what share of the images does each class occur? f(c) of the resampling rule (LVIS, arXiv 1908.03195, 4.3).
-- One row is a class of the data sets asked about, also one that never occurs; most frequent first.
--   class      class name
--   images     images with at least one box of the class
--   boxes      boxes of the class
--   frequency  images / all images that are labeled, those without any box among them
-- Parameters:
--   $datasets         labeled data sets whose ground truth counts; null for all labeled ones
--   $pseudo_datasets  unlabeled data sets whose pseudo labels (latest round) count as well; an empty list for none
WITH classes AS (
    SELECT class, min(category) AS category
    FROM categories
    JOIN datasets USING (dataset)
    WHERE labeled AND ($datasets IS NULL OR list_contains($datasets::VARCHAR[], dataset))
    GROUP BY class
)
SELECT class, coalesce(images, 0) AS images, coalesce(boxes, 0) AS boxes,
       coalesce(images, 0) / (SELECT count(*) FROM workspace.counted_labels($datasets, $pseudo_datasets)) AS frequency
FROM classes
LEFT JOIN workspace.class_counts($datasets, $pseudo_datasets) USING (class)
ORDER BY frequency DESC, boxes DESC, category;
