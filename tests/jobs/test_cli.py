"""The one door: every verb has help, and mistakes are answered in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.cli import VERBS, run

README = Path(__file__).resolve().parents[2] / "README.md"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_a_meaning_for_every_option(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        run([verb, "--help"])
    assert left.value.code == 0
    printed = capsys.readouterr().out
    assert f"usage: mixpl {verb}" in printed
    assert VERBS[verb].split(",")[0].split(":")[0][:20] in printed


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_stands_in_the_readme(verb: str) -> None:
    assert f"`mixpl {verb}" in README.read_text(encoding="utf-8")


def test_the_bare_command_lists_the_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    printed = capsys.readouterr().out
    assert all(meaning in printed for meaning in VERBS.values())


def test_a_misspelt_verb_is_answered_with_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tarin"]) == 2
    assert capsys.readouterr().err == "mixpl tarin: unknown verb; did you mean `mixpl train`?\n"


def test_a_misspelt_option_is_named_with_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        run(["train", "tiny", "--optim.lrr", "0.1"])
    assert left.value.code == 2
    said = capsys.readouterr()
    assert "--optim.lrr" in said.out + said.err
    assert "--optim.lr" in (said.out + said.err).replace("--optim.lrr", "")


def test_a_wrong_type_names_the_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(["train", "tiny", "--steps", "many"])
    said = capsys.readouterr()
    assert "--steps" in said.out + said.err


def test_an_error_of_the_outside_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", str(tmp_path / "run"), "--data", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("mixpl eval: ")
    assert error.count("\n") == 1


def test_a_value_out_of_range_names_its_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        run(["train", "tiny", "--steps", "0"])
    assert left.value.code == 2
    assert "--steps must be at least 1, got 0" in capsys.readouterr().err
