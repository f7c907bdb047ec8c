-- Which id has each file name? One row is a labeled image, with boxes or without.
--   image_id   id in the annotation file that the data set was made from
--   file_name  name in that file
--   width      pixels
--   height     pixels
-- Parameters:
--   path  of the file
COPY (
    SELECT image_id, file_name, width, height
    FROM images
) TO $path (FORMAT csv, HEADER true);
