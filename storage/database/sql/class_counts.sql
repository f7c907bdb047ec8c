-- Internal: how often classes occur in what counts. One row is a class that occurs: its images and its boxes.
-- The first box of its class in an image stands for the image: no DISTINCT over millions of rows.
-- Parameters: those of counted_labels.
CREATE MACRO workspace.class_counts(datasets, pseudo_datasets) AS TABLE
WITH boxes AS (
    SELECT folder, unnest(categories) AS category,
           unnest(list_transform(categories, lambda category, index: list_position(categories, category) = index)) AS first
    FROM workspace.counted_labels(datasets, pseudo_datasets)
),
counts AS (
    SELECT folder, category, count(*) FILTER (first) AS images, count(*) AS boxes
    FROM boxes
    GROUP BY folder, category
)
SELECT class, sum(images)::BIGINT AS images, sum(boxes)::BIGINT AS boxes
FROM counts
JOIN workspace.classes USING (folder, category)
GROUP BY class;
