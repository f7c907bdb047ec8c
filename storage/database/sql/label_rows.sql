-- Internal: what every label table holds, with where it came from. One row is the labels of one image by one origin.
-- origin and latest are constants of each branch, so that a filter on them leaves whole branches unread.
CREATE VIEW workspace.label_rows AS
WITH every_origin AS (
    SELECT filename, key, image_id, width, height, boxes, categories, scores, step,
           'ground_truth' AS origin, false AS latest
    FROM workspace.truth_rows
    UNION ALL
    SELECT filename, key, image_id, width, height, boxes, categories, scores, step,
           'hidden_truth' AS origin, false AS latest
    FROM workspace.hidden_rows
    UNION ALL
    SELECT filename, key, image_id, width, height, boxes, categories, scores, step,
           'round' AS origin, true AS latest
    FROM workspace.latest_round_rows
    UNION ALL
    SELECT filename, key, image_id, width, height, boxes, categories, scores, step,
           'round' AS origin, false AS latest
    FROM workspace.other_round_rows
    UNION ALL
    SELECT filename, key, image_id, width, height, boxes, categories, scores, step,
           'online' AS origin, false AS latest
    FROM workspace.online_rows
)
SELECT every_origin.*, folders.folder, folders.dataset, folders.round, folders.run, folders.score_threshold,
       folders.class_thresholds
FROM every_origin
JOIN workspace.files USING (filename)
JOIN workspace.folders USING (folder);
