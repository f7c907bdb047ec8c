"""What messages advise can be done: the verbs and flags that they name exist, and advice that matters is run."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import duckdb
import pytest

from jobs.cli import VERBS, run

HOUSE = Path(__file__).parents[2]
FOLDERS = ("storage", "pipeline", "model", "analysis", "jobs")
FOREIGN = frozenset(
    {"--nproc-per-node", "--no-python", "--standalone", "--porcelain", "--untracked-files", "--key"}
)
"""Flags of torchrun and git, and the one that stands for any."""
SUBCOMMANDS = {"rounds": ("list", "compare", "compact")}
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9.-]*[a-z0-9]")
COMMAND = re.compile(r"(?:`|^|\n *|  |: )mixpl ([a-z]+)([^`;\n]*)")


@cache
def flags(verb: str) -> frozenset[str]:
    """Return the flags that `mixpl VERB --help` lists."""
    commands = [[verb, part, "--help"] for part in SUBCOMMANDS.get(verb, ())] or [[verb, "--help"]]
    if VERBS[verb].takes_recipe:
        commands = [[verb, "tiny", "--help"]]
    text = io.StringIO()
    for command in commands:
        with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
            run(command)
    lines = [line.lstrip("│ ") for line in text.getvalue().splitlines()]
    heads = [line.split("  ")[0] for line in lines if line.startswith("-")]
    return frozenset(flag for head in heads for flag in FLAG.findall(head))


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and text of every string in a file, docstrings too; values in it stand as {}."""
    tree = ast.parse(path.read_text())
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield (
                node.lineno,
                "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values),
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.lineno, node.value


def speakers(path: Path) -> tuple[str, ...]:
    """Return the verbs that a file's messages may speak of without naming them."""
    folder, name = path.relative_to(HOUSE).parts[:2]
    verb = name.removesuffix(".py")
    if folder == "jobs" and verb in {"demo", "prepare"}:  # they print the commands of others
        return tuple(VERBS)
    if folder == "jobs" and verb in VERBS:
        return (verb,)
    if folder == "jobs" and verb in {"recipes", "training"}:
        return ("train",)
    return tuple(VERBS)


def wrong(path: Path) -> Iterator[str]:
    """Yield the verbs and flags of a file's strings that do not exist."""
    for line, whole in texts(path):
        text = re.sub(r"--\S*\{\}", "", whole)  # a flag whose name is a value
        where = f"{path.relative_to(HOUSE)}:{line}:"
        for verb, rest in COMMAND.findall(text):
            if verb not in VERBS:
                yield f"{where} mixpl {verb}"
                continue
            known = flags(verb) | FOREIGN
            yield from (f"{where} mixpl {verb} {flag}" for flag in FLAG.findall(rest) if flag not in known)
        known = FOREIGN.union(*map(flags, speakers(path)))
        yield from (f"{where} {flag}" for flag in FLAG.findall(COMMAND.sub("", text)) if flag not in known)


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")


def test_the_flags_of_every_verb_are_read_from_its_help() -> None:
    for verb in VERBS:
        assert "--help" in flags(verb)
        assert len(flags(verb)) > 1
    assert {"--data.labeled", "--resume", "--no-resume", "--optim.lr"} <= flags("train")
    assert {"--megabytes", "--root"} <= flags("rounds")


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_verb_and_flag_that_a_string_names_exists(folder: str) -> None:
    assert not [found for path in sorted((HOUSE / folder).rglob("*.py")) for found in wrong(path)]


Refusal = Callable[..., str]


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Refusal:
    """Give a function that runs a command that is refused and returns its one line."""

    def refuse(*command: object) -> str:
        capsys.readouterr()
        assert run([str(word) for word in command]) == 2
        message = capsys.readouterr().err.strip()
        assert "\n" not in message
        return message

    return refuse


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose name no shell takes unquoted."""
    (tmp_path / "a folder").mkdir()
    return tmp_path / "a folder"


def do(*command: object) -> None:
    assert run([str(word) for word in command]) == 0


def advised(message: str) -> list[str]:
    """Return the words of the one command that a message advises."""
    [command] = re.findall(r"`mixpl ([^`]*)`", message)
    return shlex.split(command)


def shows_help(*command: object) -> bool:
    with pytest.raises(SystemExit) as left:
        run([*map(str, command), "--help"])
    return left.value.code == 0


def test_a_mistyped_verb_and_a_mistyped_key_name_the_right_one(
    trained: Path, folder: Path, refusal: Refusal
) -> None:
    assert shows_help(*advised(refusal("lable")))
    config = json.loads((trained / "config.json").read_text())
    wrong_file, right_file = folder / "wrong.json", folder / "right.json"
    wrong_file.write_text(json.dumps({**config, "stepz": 9}))
    [key] = re.findall(r"did you mean '(.*?)'", refusal("train", wrong_file))
    right_file.write_text(json.dumps({**config, key: 9}))
    assert shows_help("train", right_file)


def test_a_run_that_exists_is_resumed_as_each_refusal_says(
    trained: Path, folder: Path, refusal: Refusal, capsys: pytest.CaptureFixture[str]
) -> None:
    run_folder = Path(shutil.copytree(trained, folder / "run"))
    config = json.loads((run_folder / "config.json").read_text())
    (run_folder / "config.json").write_text(json.dumps({**config, "out": str(run_folder)}))
    named = refusal("train", run_folder).rsplit("; name ", 1)[1]
    assert named == str(run_folder / "config.json")
    again = refusal("train", named)
    assert "add --resume to continue it" in again
    other = advised(refusal("train", named, "--resume", "--optim.lr", "0.5"))
    do(*other)
    assert "is complete at step 12; a higher --steps goes on" in capsys.readouterr().err
    do(*other, "--steps", "13")


def test_after_ctrl_c_the_command_that_is_advised_completes(
    drawn: Path, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import storage.dataset.write_shards as writing

    real, calls = writing.write_shard, [0]

    def interrupted(task: object, finder: object) -> object:
        calls[0] += 1
        if calls[0] == 3:
            raise KeyboardInterrupt
        return real(task, finder)  # type: ignore[arg-type]

    monkeypatch.setattr(writing, "write_shard", interrupted)
    out = folder / "set"
    command = ["shard", f"{drawn}/split/unlabeled.json", "--images", f"{drawn}/images/images/train"]
    command += ["--out", str(out), "--per-shard", "50", "--workers", "1"]
    assert run(command) == 130
    assert "run the same command again" in capsys.readouterr().err
    assert run(["verify", str(out)]) == 1
    assert "it continues" in capsys.readouterr().out
    do(*command)
    do("verify", out)


def test_after_ctrl_c_train_advises_resume(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("jobs.cli._run_verb", lambda *_: interrupted(None))
    assert run(["train", "tiny"]) == 130
    assert "run the same command again with --resume" in capsys.readouterr().err


@pytest.mark.parametrize("damaged", ["dataset.json", "images.parquet", "shard-000000.tar"])
def test_a_damaged_set_is_written_again_after_its_folder_is_deleted(
    drawn: Path, folder: Path, refusal: Refusal, capsys: pytest.CaptureFixture[str], damaged: str
) -> None:
    out = folder / "set"
    command = ["shard", f"{drawn}/split/labeled.json", "--images", f"{drawn}/images/images/train"]
    command += ["--out", str(out), "--workers", "1"]
    do(*command)
    if damaged == "dataset.json":
        (out / damaged).write_text("{")
    else:
        (out / damaged).unlink()
    assert "delete the folder and write the set again" in refusal(*command)
    assert run(["verify", str(out), "--quick"]) == 1
    assert "delete the folder" in " ".join(capsys.readouterr().out.replace("│", " ").split())
    shutil.rmtree(out)
    do(*command)
    do("verify", out)
    assert "write to another folder" in refusal(*command, "--per-shard", "7")
    do(*command, "--per-shard", "7", "--out", folder / "other")


@pytest.fixture
def labels(drawn: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Path:
    """Folder of rounds with one complete round."""
    kept = trained.parent / "labels for advice"
    if not kept.exists():
        do("label", trained, "--data", drawn / "unlabeled", "--out", kept)
    return Path(shutil.copytree(kept, folder / "labels"))


@pytest.mark.parametrize("damaged", ["round.json", "thresholds.parquet", "tables.json"])
def test_a_damaged_round_is_labeled_again_as_its_refusal_says(
    drawn: Path, trained: Path, labels: Path, refusal: Refusal, damaged: str
) -> None:
    round_ = labels / "round=0001"
    if damaged == "tables.json":
        do("rounds", "compact", round_)
    (round_ / damaged).write_text("{")
    command = ("label", trained, "--data", drawn / "unlabeled", "--out", labels)
    advice = "delete round.json (of a compacted round the whole folder) and run the same `mixpl label` again"
    assert advice in refusal(*command)
    if damaged == "tables.json":
        shutil.rmtree(round_)
    else:
        (round_ / "round.json").unlink()
    do(*command)
    do("verify", labels)


def test_a_lost_table_and_lost_terms_of_a_round_are_mended_as_said(
    drawn: Path, trained: Path, labels: Path, folder: Path, refusal: Refusal
) -> None:
    command = ("label", trained, "--data", drawn / "unlabeled", "--out", labels)
    assert "name another --out" in refusal(*command, "--score-threshold", "0.9")
    (labels / "round=0001" / "shard-000003.parquet").unlink()
    assert "delete that table, where there is one; delete round.json" in refusal(*command)
    (labels / "round=0001" / "round.json").unlink()
    do(*command)
    (labels / "round=0001" / "begun.json").write_text("{")
    assert "delete that file: the same `mixpl label` begins another round" in refusal(*command)
    (labels / "round=0001" / "begun.json").unlink()
    do(*command)
    assert (labels / "round=0002" / "round.json").exists()
    do("verify", labels)


def test_files_in_the_way_are_named_with_a_way_around(
    drawn: Path, labels: Path, folder: Path, refusal: Refusal, capsys: pytest.CaptureFixture[str]
) -> None:
    out = folder / "exported"
    export = ("export", labels / "round=0001", "--format", "coco", "--data", drawn / "unlabeled", "--out")
    do(*export, out)
    assert "remove it or name another" in refusal(*export, out)
    shutil.rmtree(out)
    do(*export, out)
    foreign = folder / "foreign.db"
    foreign.write_text("somebody's")
    assert "name another one" in refusal("catalog", foreign, "--root", labels)
    capsys.readouterr()
    do("catalog", folder / "labels.duckdb", "--root", labels)
    tried = shlex.split(capsys.readouterr().out.rsplit("try: ", 1)[1])
    assert tried[:2] == ["duckdb", "-readonly"]
    with duckdb.connect(tried[2], read_only=True) as connection:
        assert connection.execute(tried[3]).fetchall()
    split = ("split", drawn / "images" / "train.json", "--out", folder / "split", "--percent")
    do(*split, "10")
    assert "replace it with --overwrite" in refusal(*split, "20")
    do(*split, "20", "--overwrite")


def test_a_query_is_mended_as_said(labels: Path, refusal: Refusal) -> None:
    query = ("sql", "select $a as a", "--root", labels)
    assert "give each with --param name=value" in refusal(*query)
    do(*query, "--param", "a=3")


def test_quality_asks_for_rounds_over_known_truth(
    drawn: Path, trained: Path, folder: Path, refusal: Refusal
) -> None:
    annotations, bare = drawn / "split" / "labeled.json", folder / "bare.json"
    document = json.loads(annotations.read_text())
    bare.write_text(json.dumps({key: document[key] for key in ("images", "categories")}))
    options = ("--images", drawn / "images" / "images" / "train", "--workers", "1")
    plain, hidden = folder / "plain", folder / "hidden"
    do("shard", bare, *options, "--out", plain / "set")
    do("label", trained, "--data", plain / "set", "--out", plain / "labels")
    advice = refusal("quality", "--root", plain)
    assert "run `mixpl label` on an unlabeled set that `mixpl split` parted from a labeled one" in advice
    do("shard", annotations, *options, "--unlabeled", "--out", hidden / "set")
    do("label", trained, "--data", hidden / "set", "--out", hidden / "labels")
    do("quality", "--root", hidden)
