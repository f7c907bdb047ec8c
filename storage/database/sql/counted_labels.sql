-- Internal: what counts when classes are counted. One row is an image of the data sets asked about.
-- categories are the class indices of its boxes, of a round those that pseudo_labels shows; workspace.classes has
-- their names by folder. Lists instead of boxes: of 30 million boxes no join sees a row each.
-- Parameters:
--   datasets         labeled data sets whose ground truth counts; null for all labeled ones
--   pseudo_datasets  data sets whose pseudo labels (latest round) count as well; an empty list for none
CREATE MACRO workspace.counted_labels(datasets, pseudo_datasets) AS TABLE
SELECT folder, dataset, key, categories
FROM workspace.label_rows
WHERE origin = 'ground_truth' AND (datasets IS NULL OR list_contains(datasets::VARCHAR[], dataset))
UNION ALL
SELECT folder, dataset, key,
       list_filter(
           categories,
           lambda category, index:
               scores[index] > workspace.class_threshold(category, class_thresholds, score_threshold)
       ) AS categories
FROM workspace.label_rows
WHERE origin = 'round' AND latest AND list_contains(pseudo_datasets::VARCHAR[], dataset);
