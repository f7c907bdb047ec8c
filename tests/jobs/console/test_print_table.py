from __future__ import annotations

import pyarrow as pa
import pytest

from jobs.console.print_table import in_percent, print_table, rounded


def test_a_table_has_its_title_and_its_numbers_to_the_right_with_the_digits_they_were_given(
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = pa.table(
        {
            "class": ["disk", "ring[s]", None],
            "AP": rounded([41.0, float("nan"), 5.25]),
            "precision %": in_percent([0.5, None, 1.0]),
            "n": [1, 20, 300],
        }
    )
    print_table(table, "Teacher [step 3]")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Teacher [step 3]"
    assert [line for line in lines if "│" in line] == [
        "│ disk    │ 41.0 │        50.0 │   1 │",
        "│ ring[s] │      │             │  20 │",
        "│         │  5.2 │       100.0 │ 300 │",
    ]
