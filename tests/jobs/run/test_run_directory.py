from __future__ import annotations

from pathlib import Path

from jobs.run.run_directory import RunDirectory
from storage.temporaries import temporary_file


def test_what_kills_left_anywhere_in_a_run_goes_and_what_is_being_written_stays(tmp_path: Path) -> None:
    run = RunDirectory(str(tmp_path / "run"))
    run.remove_leftovers()  # no run yet
    for folder in (run.root, run.checkpoints, run.online_labels, run.evaluations):
        folder.mkdir()
        (folder / ".config.json.1-ab.tmp").write_bytes(b"half")
        (folder / "mine.tmp").write_text("kept")
    with temporary_file(run.online_labels / "step-000000002.parquet") as written:
        run.remove_leftovers()
        left = sorted(path.name for path in run.root.rglob("*.tmp"))
        assert left == sorted([written.name, *["mine.tmp"] * 4])
