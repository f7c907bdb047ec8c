-- What is the list of results that pycocotools' `loadRes` takes? One row is a box; columns as in coco_boxes.
-- Parameters:
--   category_ids  of the classes, in their order
--   path          of the file
COPY (
    FROM coco_boxes($category_ids)
) TO $path (FORMAT json, ARRAY true);
