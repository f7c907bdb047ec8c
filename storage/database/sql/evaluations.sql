-- One row is one figure of one evaluation.
--   run      training run
--   step     training step of the weights
--   weights  teacher or student
--   dataset  data set it was scored on
--   class    class name; null for figures over all classes
--   metric   name of the figure
--   value    the figure, in percent where it is an AP or AR
CREATE VIEW evaluations AS
SELECT folders.run, step, weights, evaluation_rows.dataset, class, metric, value
FROM workspace.evaluation_rows
JOIN workspace.files USING (filename)
JOIN workspace.folders USING (folder);
