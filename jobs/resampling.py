"""Repeat factors of the labeled images, asked of the tables in SQL.

In: a labeled data set and the threshold t. Out: a repeat factor for every row of its image table, and a printed
line that says which classes are repeated. The rule is r = max(1, sqrt(t / f)) (LVIS, arXiv 1908.03195, section
4.3); the query is `analysis/sql/repeat_factors.sql`.
"""

from __future__ import annotations
