-- Which rounds of pseudo labels are in use, and how are they to be read?
-- One row is a data set with a complete round of labels, ordered by name.
--   dataset          data set
--   round            its latest complete round
--   score_threshold  boxes that score higher count as pseudo labels, unless their class has its own threshold
--   classes          list of class names, in the order of the class indices
--   thresholds       list of the score thresholds of the classes
SELECT dataset, round, rounds.score_threshold, list(class ORDER BY category) AS classes,
       list(thresholds.score_threshold ORDER BY category) AS thresholds
FROM rounds
JOIN thresholds USING (dataset, round)
WHERE rounds.latest AND thresholds.latest
GROUP BY dataset, round, rounds.score_threshold
ORDER BY dataset;
