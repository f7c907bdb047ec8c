-- One row is an image of a data set, labeled or not.
--   dataset    data set
--   key        name of the sample in its shard; together with dataset it names one image
--   image_id   id in the annotation file
--   file_name  name in the annotation file or image folder
--   width      pixels, as decoded
--   height     pixels, as decoded
--   split      part of the split it belongs to; null where there is none
--   labeled    whether its data set has ground truth to train on
--   shard      tar file
--   bytes      size of the encoded image
--   sha256     of the encoded image
CREATE VIEW images AS
SELECT folders.dataset, key, image_id, file_name, width, height, split, folders.labeled, shard,
       size AS bytes, sha256
FROM workspace.image_rows
JOIN workspace.files USING (filename)
JOIN workspace.folders USING (folder);
