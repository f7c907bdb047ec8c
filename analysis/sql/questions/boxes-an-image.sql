-- How many boxes has an image, in the truth and in the pseudo labels?
-- One row is a number of boxes that some image of a data set has.
--   dataset        data set
--   boxes          boxes of an image
--   truth_images   images with so many true boxes
--   pseudo_images  images with so many pseudo labels of the latest complete round
-- Parameters:
--   $dataset = null  a data set; null for all
WITH pseudo AS (
    SELECT dataset, key, count(*) AS boxes
    FROM pseudo_labels
    GROUP BY ALL
),
counted AS (
    SELECT labels.dataset, origin = 'round' AS is_pseudo,
           CASE WHEN origin = 'round' THEN coalesce(pseudo.boxes, 0) ELSE num_boxes END AS boxes
    FROM labels
    LEFT JOIN pseudo ON labels.origin = 'round' AND pseudo.dataset = labels.dataset AND pseudo.key = labels.key
    WHERE origin IN ('ground_truth', 'hidden_truth') OR origin = 'round' AND latest
)
SELECT dataset, boxes, count(*) FILTER (NOT is_pseudo) AS truth_images, count(*) FILTER (is_pseudo) AS pseudo_images
FROM counted
WHERE $dataset IS NULL OR dataset = $dataset
GROUP BY dataset, boxes
ORDER BY dataset, boxes;
