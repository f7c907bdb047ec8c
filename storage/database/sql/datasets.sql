-- One row is a sharded data set.
--   dataset        its name; where two share a name, their paths
--   path           its folder or URL
--   labeled        whether it has ground truth to train on
--   hidden_truth   whether its truth is known but kept apart
--   num_images     images in its shards
--   num_boxes      boxes of its ground truth; null where unlabeled
--   num_classes    classes
--   num_shards     tar files
--   split_part     labeled or unlabeled; null where it is no part of a split
--   split_family   published or exact
--   split_percent  percent of the images that are labeled
--   split_fold     which of several splits
--   split_hash     equal hashes mean equal images on both sides
--   hash           equal hashes mean equal images
CREATE VIEW datasets AS
SELECT * FROM workspace.datasets;
