-- One row is a true box. Crowd regions are not among them.
--   dataset   data set
--   key       image
--   image_id  id in the annotation file
--   class     class name
--   category  class index
--   x1        left edge, pixels of the image
--   y1        top edge
--   x2        right edge
--   y2        bottom edge
--   width     of the box, pixels
--   height    of the box, pixels
--   area      width x height
--   size_bin  small (area below 32 x 32), medium, large (from 96 x 96), as COCO bins
--   tiny      whether the area is below 16 x 16
--   hidden    whether it is truth kept apart for analysis, which training never sees
CREATE VIEW ground_truth AS
SELECT dataset, key, image_id, class, category, x1, y1, x2, y2, width, height, area, size_bin, tiny,
       origin = 'hidden_truth' AS hidden
FROM boxes
WHERE origin IN ('ground_truth', 'hidden_truth');
