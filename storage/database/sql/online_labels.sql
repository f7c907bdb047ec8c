-- One row is a box that the teacher gave an unlabeled image while training, whatever its score.
--   run       training run
--   step      training step
--   score     the teacher's
-- The other columns are those of boxes.
CREATE VIEW online_labels AS
SELECT run, step, dataset, key, image_id, class, category, score, x1, y1, x2, y2, width, height, area,
       size_bin, tiny
FROM boxes
WHERE origin = 'online';
