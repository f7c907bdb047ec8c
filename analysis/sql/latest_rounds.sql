-- Which rounds of pseudo labels are in use, and how are they to be read?
-- One row is a data set with a complete round of labels, ordered by name.
--   dataset          data set
--   round            its latest complete round
--   score_threshold  boxes that score higher count as pseudo labels
--   classes          list of class names, in the order of the class indices
SELECT dataset, round, score_threshold, list(class ORDER BY category) AS classes
FROM rounds
JOIN categories USING (dataset)
WHERE latest
GROUP BY dataset, round, score_threshold
ORDER BY dataset;
