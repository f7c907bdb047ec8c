-- One row is the labels of one image by one origin; an image labeled as empty has a row, one not labeled yet has none.
--   dataset          data set
--   key              image
--   image_id         id in the annotation file
--   width            pixels of the image
--   height           pixels of the image
--   num_boxes        boxes of the image
--   boxes            list of [x1, y1, x2, y2] in pixels of the image
--   categories       list of class indices, one a box
--   scores           list of scores, one a box; 1 for truth
--   origin           ground_truth, hidden_truth (kept apart), round (a labeling job), online (while training)
--   round            number of the round; null for other origins
--   latest           whether the round is its data set's latest complete one
--   score_threshold  boxes count as pseudo labels above it, unless thresholds has one for their class; else null
--   run              run that labeled it while training; null for other origins
--   step             training step of the teacher; null for truth
CREATE VIEW labels AS
SELECT dataset, key, image_id, width, height, len(categories) AS num_boxes, boxes, categories, scores,
       origin, round, latest, score_threshold, run, step
FROM workspace.label_rows;
