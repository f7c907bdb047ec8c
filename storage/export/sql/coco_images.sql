-- What are the images of a COCO file? One row is a labeled image, with boxes or without.
--   id         id in the annotation file that the data set was made from
--   file_name  name in that file
--   width      pixels
--   height     pixels
-- Parameters:
--   path  of the file
COPY (
    SELECT image_id AS id, file_name, width, height
    FROM images
) TO $path (FORMAT json, ARRAY true);
