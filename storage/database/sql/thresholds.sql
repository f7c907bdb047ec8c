-- One row is the score threshold of one class in one complete round.
--   dataset          data set that was labeled
--   round            number of the round
--   latest           whether it is the data set's latest complete round
--   class            class name
--   category         class index
--   policy           fixed, prior (as many boxes an image as in the labeled data) or mixture (of two Gaussians)
--   score_threshold  boxes of the class count as pseudo labels above it
--   boxes            boxes of the class of any score; null where the policy did not count
--   pseudo_labels    boxes above the threshold; null where the policy did not count
--   labeled_rate     true boxes of the class an image of the labeled data; null where the policy did not ask
--   reason           why the class has the round's own threshold instead; null where it has one of its policy
CREATE VIEW thresholds AS
SELECT rounds.dataset, rounds.round, rounds.latest, classes.class, category, coalesce(policy, 'fixed') AS policy,
       workspace.class_threshold(category, class_thresholds, rounds.score_threshold) AS score_threshold,
       boxes, pseudo_labels, labeled_rate, reason
FROM workspace.rounds
JOIN workspace.folders USING (folder)
JOIN workspace.classes USING (folder)
LEFT JOIN workspace.thresholds AS stored USING (folder, category)
WHERE complete;
