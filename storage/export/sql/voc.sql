-- What does the VOC annotation file of an image say? One row is an image of `labeled`, in their order.
--   text  the XML. VOC counts pixels from 1 and includes the last one: left and top are one more than here, right
--         and bottom the same; six digits behind the point
-- Parameters, all of them escaped for XML:
--   database       name of the data set
--   model_version  short name of the teacher
--   classes        their names
SELECT concat(
           E'<annotation>\n  <folder>JPEGImages</folder>\n  <filename>',
           replace(replace(replace(file_name, '&', '&amp;'), '<', '&lt;'), '>', '&gt;'),
           E'</filename>\n  <source><database>', $database, '</database><annotation>', $model_version,
           E'</annotation></source>\n  <size><width>', width, '</width><height>', height,
           E'</height><depth>3</depth></size>\n  <segmented>0</segmented>\n',
           array_to_string(list_transform(boxes::DOUBLE[4][], lambda box, number: concat(
               E'  <object>\n    <name>', ($classes::VARCHAR[])[categories[number] + 1],
               '</name><pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult><confidence>',
               scores[number], E'</confidence>\n    <bndbox><xmin>', round(box[1] + 1, 6),
               '</xmin><ymin>', round(box[2] + 1, 6), '</ymin><xmax>', round(box[3], 6),
               '</xmax><ymax>', round(box[4], 6), E'</ymax></bndbox>\n  </object>\n'
           )), ''),
           E'</annotation>\n'
       ) AS text
FROM labeled;
