-- One row is a class of a data set.
--   dataset      data set
--   category     class index in label tables
--   class        class name
--   category_id  id in the annotation file
CREATE VIEW categories AS
SELECT folders.dataset, category, class, category_id
FROM workspace.classes
JOIN workspace.folders USING (folder)
WHERE folders.origin = 'dataset';
