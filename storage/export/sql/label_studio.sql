-- What are the tasks of Label Studio? One row is an image of `labeled`.
--   data         where the image lies, its id and file name
--   predictions  one: the teacher's name, the lowest score of its boxes (1 without a box), and its boxes in
--                percent of the image: nine digits behind the point
-- Parameters:
--   image_url      stands before the file names
--   model_version  short name of the teacher
--   classes        their names
--   path           of the file
COPY (
    SELECT {
               'image': $image_url || replace(url_encode(file_name), '%2F', '/'),
               'image_id': image_id,
               'file_name': file_name
           } AS data,
           [{
               'model_version': $model_version,
               'score': coalesce(list_min(scores), 1)::FLOAT::VARCHAR::DOUBLE,
               'result': list_transform(boxes::DOUBLE[4][], lambda box, number: {
                   'id': 'box-' || (number - 1),
                   'type': 'rectanglelabels',
                   'from_name': 'label',
                   'to_name': 'image',
                   'original_width': width,
                   'original_height': height,
                   'image_rotation': 0,
                   'score': scores[number]::VARCHAR::DOUBLE,
                   'value': {
                       'x': round(box[1] / width * 100, 9),
                       'y': round(box[2] / height * 100, 9),
                       'width': round((box[3] - box[1]) / width * 100, 9),
                       'height': round((box[4] - box[2]) / height * 100, 9),
                       'rotation': 0,
                       'rectanglelabels': [($classes::VARCHAR[])[categories[number] + 1]]
                   }
               })
           }] AS predictions
    FROM labeled
) TO $path (FORMAT json, ARRAY true);
