-- Which classes occur together in one image, in the truth and in the pseudo labels?
-- One row is a pair of classes of a data set that some image has, the most frequent pair first.
--   dataset        data set
--   class          class name
--   other          name of the other class, later in the order of the classes
--   truth_images   images with a true box of both
--   truth_lift     truth_images / what it would be if the two came by chance; above 1: they come together
--   pseudo_images  images with a pseudo label of both, of the latest complete round
--   pseudo_lift    the same for pseudo labels
-- Parameters:
--   $dataset = null  a data set; null for all
WITH present AS (
    SELECT DISTINCT dataset, key, class, category, true AS is_truth
    FROM ground_truth
    WHERE $dataset IS NULL OR dataset = $dataset
    UNION ALL
    SELECT DISTINCT dataset, key, class, category, false AS is_truth
    FROM pseudo_labels
    WHERE $dataset IS NULL OR dataset = $dataset
),
singles AS (
    SELECT dataset, is_truth, category, count(*) AS images
    FROM present
    GROUP BY ALL
),
images AS (
    SELECT dataset, origin != 'round' AS is_truth, count(*) AS images
    FROM labels
    WHERE origin IN ('ground_truth', 'hidden_truth') OR origin = 'round' AND latest
    GROUP BY ALL
),
pairs AS (
    SELECT first.dataset, first.is_truth, first.class, first.category, second.class AS other,
           second.category AS other_category, count(*) AS images
    FROM present AS first
    JOIN present AS second USING (dataset, key, is_truth)
    WHERE first.category < second.category
    GROUP BY ALL
),
lifted AS (
    SELECT pairs.*, pairs.images * images.images / (mine.images * theirs.images) AS lift
    FROM pairs
    JOIN images USING (dataset, is_truth)
    JOIN singles AS mine USING (dataset, is_truth, category)
    JOIN singles AS theirs ON theirs.dataset = pairs.dataset AND theirs.is_truth = pairs.is_truth AND theirs.category = other_category
)
SELECT dataset, class, other,
       coalesce(max(images) FILTER (is_truth), 0) AS truth_images, max(lift) FILTER (is_truth) AS truth_lift,
       coalesce(max(images) FILTER (NOT is_truth), 0) AS pseudo_images, max(lift) FILTER (NOT is_truth) AS pseudo_lift
FROM lifted
GROUP BY dataset, class, other, category, other_category
ORDER BY dataset, greatest(truth_images, pseudo_images) DESC, category, other_category;
