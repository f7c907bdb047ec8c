-- What are the annotations of a COCO file? One row is a box.
--   id           counts from 1
--   image_id     as in coco_boxes, like category_id, bbox and score
--   area         width x height: six digits behind the point
--   iscrowd      0: a pseudo label is a single object
-- Parameters:
--   category_ids  of the classes, in their order
--   path          of the file
COPY (
    SELECT row_number() OVER () AS id, image_id, category_id, bbox, score,
           round(bbox[3] * bbox[4], 6) AS area, 0 AS iscrowd
    FROM coco_boxes($category_ids)
) TO $path (FORMAT json, ARRAY true);
