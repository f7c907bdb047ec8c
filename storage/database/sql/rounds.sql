-- One row is a round of pseudo labels, complete or not.
--   dataset          data set that was labeled
--   round            number
--   complete         whether every shard is labeled
--   latest           whether it is the data set's latest complete round, the one that pseudo_labels shows
--   score_threshold  boxes above it count as pseudo labels, unless thresholds has one for their class; null until complete
--   num_images       images labeled; null until complete
--   num_boxes        boxes of any score; null until complete
--   num_without_row  images without a row, each with its reason beside the tables; null until complete
--   seconds          wall time of the job; null until complete
--   finished_at      UTC; null until complete
--   run              run whose weights labeled
--   step             training step of the teacher
--   weights_hash     hash of the teacher's weights
--   provenance       all that is known of where the labels came from, as JSON
--   path             folder
CREATE VIEW rounds AS
SELECT dataset, round, complete, latest, score_threshold, num_images, num_boxes, num_without_row, seconds,
       finished_at::TIMESTAMP AS finished_at,
       provenance ->> 'run' AS run,
       (provenance ->> 'teacher_step')::BIGINT AS step,
       provenance ->> 'weights_hash' AS weights_hash,
       provenance, path
FROM (SELECT * REPLACE (provenance::JSON AS provenance) FROM workspace.rounds);
