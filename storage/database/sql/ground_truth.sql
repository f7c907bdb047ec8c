-- One row is a true box. Crowd regions are not among them.
--   hidden    whether it is truth kept apart for analysis, which training never sees
-- The other columns are those of boxes.
CREATE VIEW ground_truth AS
SELECT dataset, key, image_id, class, category, x1, y1, x2, y2, width, height, area, size_bin, tiny,
       origin = 'hidden_truth' AS hidden
FROM boxes
WHERE origin IN ('ground_truth', 'hidden_truth');
