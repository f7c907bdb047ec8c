-- Internal: above which score do boxes of a class count as pseudo labels? The one rule for every view.
-- Parameters:
--   category          class index
--   class_thresholds  thresholds of the round's classes; null where one is for all
--   score_threshold   threshold of the round
CREATE MACRO workspace.class_threshold(category, class_thresholds, score_threshold) AS
    coalesce(class_thresholds[category + 1], score_threshold);
