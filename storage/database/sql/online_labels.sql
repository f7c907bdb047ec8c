-- One row is a box that the teacher gave an unlabeled image while training, whatever its score.
--   run       training run
--   step      training step
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
CREATE VIEW online_labels AS
SELECT run, step, dataset, key, image_id, class, category, score, x1, y1, x2, y2, width, height, area,
       size_bin, tiny
FROM boxes
WHERE origin = 'online';
