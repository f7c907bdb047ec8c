-- What did the teacher of a run label last, and what is true, image by image?
-- One row is an image that the run's teacher labeled while training, and whose truth is known.
--   key                image
--   dataset            data set
--   boxes              the teacher's boxes of any score: list of [x1, y1, x2, y2] in pixels of the image
--   categories         their class indices
--   scores             their scores
--   truth_boxes        the true boxes, crowds not among them
--   truth_categories   their class indices
-- Parameters:
--   $files  as many of the last steps that wrote labels
SELECT teacher.key, teacher.dataset, teacher.boxes, teacher.categories, teacher.scores,
       truth.boxes AS truth_boxes, truth.categories AS truth_categories
FROM labels AS teacher
JOIN labels AS truth USING (dataset, key)
WHERE teacher.origin = 'online' AND truth.origin IN ('ground_truth', 'hidden_truth')
  AND teacher.step IN (SELECT DISTINCT step FROM labels WHERE origin = 'online' ORDER BY step DESC LIMIT $files)
ORDER BY teacher.step, teacher.key;
