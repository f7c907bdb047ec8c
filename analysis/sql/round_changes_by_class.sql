-- What appeared, vanished, moved and stayed between two rounds, class by class?
-- One row is a class with a pseudo label in either round; the last row, with class null, is all of them.
--   class      class name
--   older      pseudo labels in the older round
--   newer      pseudo labels in the newer round
--   stayed     in both, at nearly the same place
--   moved      in both, at another place
--   appeared   only in the newer
--   vanished   only in the older
--   iou        mean IoU of what stayed and moved
--   score      mean change of their score
SELECT class,
       count(*) FILTER (change != 'appeared') AS older,
       count(*) FILTER (change != 'vanished') AS newer,
       count(*) FILTER (change = 'stayed') AS stayed,
       count(*) FILTER (change = 'moved') AS moved,
       count(*) FILTER (change = 'appeared') AS appeared,
       count(*) FILTER (change = 'vanished') AS vanished,
       avg(iou) AS iou,
       avg(new_score - old_score) AS score
FROM changes
GROUP BY GROUPING SETS ((class, category), ())
ORDER BY category NULLS LAST;
