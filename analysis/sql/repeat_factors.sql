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
WITH class_factors AS (
    SELECT class, greatest(1, sqrt($threshold / (images / (
        SELECT count(*) FROM workspace.counted_labels($datasets, $pseudo_datasets))))) AS factor
    FROM workspace.class_counts($datasets, $pseudo_datasets)
),
folder_factors AS (
    SELECT folder, list(coalesce(factor, 1) ORDER BY category) AS factors
    FROM workspace.classes
    LEFT JOIN class_factors USING (class)
    GROUP BY folder
)
SELECT dataset, key,
       coalesce(list_max(list_transform(categories, lambda one: factors[one + 1])), 1)::DOUBLE AS repeat_factor
FROM workspace.counted_labels($datasets, $pseudo_datasets)
LEFT JOIN folder_factors USING (folder)
ORDER BY dataset, key;
