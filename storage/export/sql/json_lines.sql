-- What was found in each image, as JSON lines? One row is an image of `labeled`, with boxes or without.
--   file_name, width, height   of the image; sides in pixels
--   objects                    best score first: class, score (the shortest number that reads back as the same
--                              float32), box (left, top, right, bottom in pixels: six digits behind the point)
-- Parameters:
--   classes  their names
--   path     of the file
COPY (
    SELECT file_name,
           width,
           height,
           list_transform(boxes::DOUBLE[4][], lambda box, number: {
               'class': ($classes::VARCHAR[])[categories[number] + 1],
               'score': scores[number]::VARCHAR::DOUBLE,
               'box': list_transform(box, lambda side: round(side, 6))
           }) AS objects
    FROM labeled
) TO $path (FORMAT json);
