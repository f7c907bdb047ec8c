-- How do a run's own figures develop: losses, boxes an image, waiting, AP?
-- One row is a figure of a run in a stretch of its steps.
--   run         training run
--   dataset     data set that the figure is about, such as an AP while training; null for figures of training itself
--   metric      name of the figure
--   first_step  first step of the stretch at which it was noted
--   last_step   last one
--   mean        mean over the stretch
--   least       least value
--   greatest    greatest value
-- Parameters:
--   $run = null     a run; null for all
--   $metric = null  a figure, such as loss, boxes_per_image, wait_share or AP50; null for all
--   $bins = 8       stretches of equal length
WITH spans AS (
    SELECT run, min(step) AS low, max(step) - min(step) + 1 AS width
    FROM metrics
    WHERE $run IS NULL OR run = $run
    GROUP BY run
)
SELECT run, dataset, metric, min(step) AS first_step, max(step) AS last_step, avg(value) AS mean, min(value) AS least,
       max(value) AS greatest
FROM metrics
JOIN spans USING (run)
WHERE value IS NOT NULL AND ($metric IS NULL OR metric = $metric)
GROUP BY run, dataset, metric, floor((step - low) * $bins / width)
ORDER BY run, dataset NULLS FIRST, metric, first_step;
