-- What does the YOLO label file of an image say? One row is an image of `labeled`, in their order.
--   text  a line a box: class index, centre x and y, width and height as shares of the image (nine digits behind
--         the point: less than 1e-5 pixels of an image of 10,000), and the score; empty without a box
-- Parameters:
--   scores  whether the lines have the score, which trainers do not want
SELECT array_to_string(list_transform(boxes::DOUBLE[4][], lambda box, number: concat_ws(
           ' ',
           categories[number],
           round((box[1] + box[3]) / 2 / width, 9),
           round((box[2] + box[4]) / 2 / height, 9),
           round((box[3] - box[1]) / width, 9),
           round((box[4] - box[2]) / height, 9),
           CASE WHEN $scores THEN scores[number] END
       ) || E'\n'), '') AS text
FROM labeled;
