-- What did the teacher label, and what is true, image by image?
-- One row is an image of a data set's latest complete round whose truth is known, ordered by data set and key.
--   dataset            data set
--   key                image
--   boxes              the teacher's boxes of any score: list of [x1, y1, x2, y2] in pixels of the image
--   categories         their class indices
--   scores             their scores
--   truth_boxes        the true boxes, crowds not among them
--   truth_categories   their class indices
-- Parameters:
--   $dataset  a data set; null for all
SELECT teacher.dataset, teacher.key, teacher.boxes, teacher.categories, teacher.scores,
       truth.boxes AS truth_boxes, truth.categories AS truth_categories
FROM labels AS teacher
JOIN labels AS truth USING (dataset, key)
WHERE teacher.origin = 'round' AND teacher.latest
  AND truth.origin IN ('ground_truth', 'hidden_truth')
  AND ($dataset IS NULL OR teacher.dataset = $dataset)
ORDER BY dataset, key;
