-- How often should each image be repeated, so that rare classes are seen more (LVIS, arXiv 1908.03195, 4.3)?
-- One row is a labeled image, ordered by data set and key.
--   dataset        data set
--   key            image
--   repeat_factor  the greatest max(1, sqrt($threshold / f(c))) of its classes c; 1 for an image without boxes
-- Parameters:
--   $threshold        t: classes in a smaller share of the images than this are repeated
--   $datasets         labeled data sets whose images are repeated and counted; null for all labeled ones
--   $pseudo_datasets  unlabeled data sets whose pseudo labels (latest round) count for f(c) and whose images get
--                     a factor by the same rule; an empty list for none
WITH counted_images AS (
    SELECT dataset, key
    FROM labels
    WHERE origin = 'ground_truth' AND ($datasets IS NULL OR list_contains($datasets::VARCHAR[], dataset))
    UNION ALL
    SELECT dataset, key
    FROM labels
    WHERE origin = 'round' AND latest AND list_contains($pseudo_datasets::VARCHAR[], dataset)
),
image_classes AS (
    SELECT DISTINCT dataset, key, class
    FROM ground_truth
    WHERE NOT hidden AND ($datasets IS NULL OR list_contains($datasets::VARCHAR[], dataset))
    UNION
    SELECT DISTINCT dataset, key, class
    FROM pseudo_labels
    WHERE list_contains($pseudo_datasets::VARCHAR[], dataset)
),
class_factors AS (
    SELECT class, greatest(1, sqrt($threshold / (count(*) / (SELECT count(*) FROM counted_images)))) AS factor
    FROM image_classes
    GROUP BY class
)
SELECT counted_images.dataset, counted_images.key, coalesce(max(factor), 1)::DOUBLE AS repeat_factor
FROM counted_images
LEFT JOIN image_classes USING (dataset, key)
LEFT JOIN class_factors USING (class)
GROUP BY ALL
ORDER BY ALL;
