-- One row is a pseudo label: a box of its data set's latest complete round that scored above the round's threshold.
--   dataset   data set
--   key       image
--   image_id  id in the annotation file
--   class     class name
--   category  class index
--   score     the teacher's
--   x1        left edge, pixels of the image
--   y1        top edge
--   x2        right edge
--   y2        bottom edge
--   width     of the box, pixels
--   height    of the box, pixels
--   area      width x height
--   size_bin  small (area below 32 x 32), medium, large (from 96 x 96), as COCO bins
--   tiny      whether the area is below 16 x 16
--   round     number of the round
--   step      training step of the teacher
CREATE VIEW pseudo_labels AS
SELECT dataset, key, image_id, class, category, score, x1, y1, x2, y2, width, height, area, size_bin, tiny,
       round, step
FROM boxes
WHERE origin = 'round' AND latest AND score > score_threshold;
