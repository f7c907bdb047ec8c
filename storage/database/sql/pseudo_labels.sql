-- One row is a pseudo label: a box of its data set's latest complete round that scored above the round's threshold.
--   score     the teacher's
--   round     number of the round
--   step      training step of the teacher
-- The other columns are those of boxes.
CREATE VIEW pseudo_labels AS
SELECT dataset, key, image_id, class, category, score, x1, y1, x2, y2, width, height, area, size_bin, tiny,
       round, step
FROM boxes
WHERE origin = 'round' AND latest AND score > score_threshold;
