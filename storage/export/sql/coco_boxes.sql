-- Internal: what COCO says of a box. One row is a box of the images in `labeled`, in their order.
--   image_id     id in the annotation file that the data set was made from
--   category_id  id in that file
--   bbox         left, top, width, height in pixels: six digits behind the point
--   score        the shortest number that reads back as the same float32
-- Parameters:
--   category_ids  of the classes, in their order
CREATE MACRO coco_boxes(category_ids) AS TABLE
WITH flat AS (
    SELECT image_id, unnest(categories) AS category, unnest(scores) AS score, unnest(boxes)::DOUBLE[4] AS box
    FROM labeled
)
SELECT image_id,
       category_ids[category + 1] AS category_id,
       [round(box[1], 6), round(box[2], 6), round(box[3] - box[1], 6), round(box[4] - box[2], 6)] AS bbox,
       score::VARCHAR::DOUBLE AS score
FROM flat;
