-- Which rounds of labels are there, and what do they hold?
-- One row is a round, complete or not, ordered by data set and number.
--   dataset      data set that was labeled
--   round        number
--   state        latest (the one that pseudo_labels shows), complete (superseded) or incomplete
--   images       images labeled
--   boxes        boxes of any score
--   without_row  images without a row, each with its reason beside the tables (`mixpl verify` names them)
--   threshold    score threshold, by class where it says so
--   weights      run and training step of the teacher, and the first letters of the hash of its weights
--   split        first letters of the hash of the split
--   seconds      wall time of the job
--   finished_at  UTC
--   path         folder
SELECT dataset, round,
       CASE WHEN latest THEN 'latest' WHEN complete THEN 'complete' ELSE 'incomplete' END AS state,
       num_images AS images, num_boxes AS boxes, num_without_row AS without_row,
       coalesce(
           (SELECT min(policy) || ' by class, ' || round(min(score_threshold), 2) || ' to ' || round(max(score_threshold), 2)
            FROM thresholds
            WHERE thresholds.dataset = rounds.dataset AND thresholds.round = rounds.round AND policy != 'fixed'),
           score_threshold::VARCHAR
       ) AS threshold,
       concat_ws(' ', run, 'step', step, weights_hash[:8]) AS weights,
       (provenance ->> 'split_hash')[:8] AS split,
       round(seconds, 1) AS seconds, strftime(finished_at, '%Y-%m-%d %H:%M') AS finished_at, path
FROM rounds
ORDER BY dataset, round, path;
