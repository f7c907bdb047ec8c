-- What did two rounds say of the same image?
-- One row is an image that both rounds labeled, ordered by key. The older round is asked as number 0, the newer as 1.
--   key             image
--   image_id        id in the annotation file
--   old_boxes       boxes of any score in the older round: list of [x1, y1, x2, y2] in pixels of the image
--   old_categories  their class indices
--   old_scores      their scores
--   new_boxes       the same of the newer round
--   new_categories
--   new_scores
SELECT key, older.image_id,
       older.boxes AS old_boxes, older.categories AS old_categories, older.scores AS old_scores,
       newer.boxes AS new_boxes, newer.categories AS new_categories, newer.scores AS new_scores
FROM labels AS older
JOIN labels AS newer USING (key)
WHERE older.origin = 'round' AND older.round = 0 AND newer.origin = 'round' AND newer.round = 1
ORDER BY key;
