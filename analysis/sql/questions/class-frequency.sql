-- How often does each class occur, in the truth and in the pseudo labels?
-- One row is a class of a data set: the truth, also truth kept apart, beside the latest complete round's pseudo labels.
--   dataset           data set
--   class             class name
--   truth_images      images with a true box of the class; null where no truth is known
--   truth_boxes       true boxes
--   truth_frequency   truth_images / images whose truth is known
--   pseudo_images     images with a pseudo label of the class; null where no round is complete
--   pseudo_boxes      pseudo labels
--   pseudo_frequency  pseudo_images / images of the round
--   ratio             pseudo_boxes / truth_boxes, where the round labeled images of known truth; null elsewhere
-- Parameters:
--   $dataset = null  a data set; null for all
WITH classes AS (
    SELECT DISTINCT dataset, class, category
    FROM categories
    WHERE $dataset IS NULL OR dataset = $dataset
),
images AS (
    SELECT dataset, nullif(count(*) FILTER (origin != 'round'), 0) AS truth,
           nullif(count(*) FILTER (origin = 'round'), 0) AS pseudo
    FROM labels
    WHERE origin IN ('ground_truth', 'hidden_truth') OR origin = 'round' AND latest
    GROUP BY dataset
),
truth AS (
    SELECT dataset, class, count(DISTINCT key) AS images, count(*) AS boxes
    FROM ground_truth
    GROUP BY ALL
),
pseudo AS (
    SELECT dataset, class, count(DISTINCT key) AS images, count(*) AS boxes
    FROM pseudo_labels
    GROUP BY ALL
)
SELECT dataset, class,
       CASE WHEN images.truth > 0 THEN coalesce(truth.images, 0) END AS truth_images,
       CASE WHEN images.truth > 0 THEN coalesce(truth.boxes, 0) END AS truth_boxes,
       truth_images / images.truth AS truth_frequency,
       CASE WHEN images.pseudo > 0 THEN coalesce(pseudo.images, 0) END AS pseudo_images,
       CASE WHEN images.pseudo > 0 THEN coalesce(pseudo.boxes, 0) END AS pseudo_boxes,
       pseudo_images / images.pseudo AS pseudo_frequency,
       pseudo_boxes / nullif(truth_boxes, 0) AS ratio
FROM classes
LEFT JOIN images USING (dataset)
LEFT JOIN truth USING (dataset, class)
LEFT JOIN pseudo USING (dataset, class)
ORDER BY dataset, truth_boxes DESC, pseudo_boxes DESC, category;
