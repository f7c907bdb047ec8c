"""The one door: `mixpl VERB …`.

In: the argument vector. Out: an exit code. `VERBS` is the list of verbs: each is the file `jobs/VERB.py` with a
function of that name, whose one parameter is its configuration. A verb's file is imported only when the verb is
asked for, so that `mixpl sql` does not wait for torch. An error of the outside world is one line on standard error
and exit code 2; an error of ours keeps its traceback.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import inspect
import os
import select
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

try:  # Ctrl-C meets the imports too
    import tyro

    from jobs.console.plain_text import STANDARD_OUTPUT, escaped_output, named_output, printable
    from jobs.recipes.model_errors import answer_model_errors
    from jobs.run.interrupt import INTERRUPTED
    from pipeline.heap import use_one_heap
    from storage.errors import ConfigError, came_from_outside
except KeyboardInterrupt:
    print("mixpl: interrupted", file=sys.stderr)
    raise SystemExit(130) from None

Job = Callable[[Any], object]


@dataclass(frozen=True, kw_only=True, slots=True)
class Verb:
    """What is known of a verb before its file is imported."""

    meaning: str
    builds_graphs: bool = False
    """Whether it builds DALI graphs."""
    takes_recipe: bool = False
    """Whether its first argument names a recipe, from which its configuration starts."""
    function: str | None = None
    """Name of its function, where that is not the verb's own."""


PRINT_CONFIG = "--print-config"
"""Of `mixpl train`: print the resolved configuration, in place of training."""

HELP = ("--help", "-h", "help")

_DUCKDB_INTERRUPTED = "Query interrupted"
"""What DuckDB's RuntimeError says where Ctrl-C met it at work."""

VERBS = {
    "demo": Verb(
        meaning="raw images to a trained detector, pseudo labels in SQL and pictures, in about 3 minutes",
        builds_graphs=True,
    ),
    "synth": Verb(meaning="draw a data set in COCO format to try things on"),
    "prepare": Verb(
        meaning="a published setting from the folders you downloaded: COCO partial, COCO full, VOC 07+12"
    ),
    "split": Verb(meaning="divide a COCO file into labeled and unlabeled images by percent and fold"),
    "shard": Verb(meaning="pack images into tar shards and an image table"),
    "verify": Verb(meaning="check data sets and label rounds: files, tables, hashes, every image"),
    "preview": Verb(
        meaning="draw what the student will see of your data at one step",
        builds_graphs=True,
        takes_recipe=True,
    ),
    "train": Verb(
        meaning="train a detector: MixPL, mean teacher or supervised", builds_graphs=True, takes_recipe=True
    ),
    "ablate": Verb(
        meaning="a declared grid of runs: mean ± deviation over seeds, paired differences, a plot"
    ),
    "watch": Verb(meaning="a run's curves, speed and warnings in the terminal, while it trains or after"),
    "profile": Verb(
        meaning="where a pipeline's time goes, part by part, and which setting to change",
        builds_graphs=True,
        takes_recipe=True,
    ),
    "eval": Verb(meaning="score a trained detector by COCO AP", builds_graphs=True, function="evaluate"),
    "weights": Verb(meaning="a trained detector as a file for other programs"),
    "predict": Verb(
        meaning="what a model finds in your images: pictures, COCO, JSON lines", builds_graphs=True
    ),
    "label": Verb(meaning="write a teacher's pseudo labels for unlabeled shards", builds_graphs=True),
    "rounds": Verb(meaning="list rounds of labels, compare two, pack one's many files into few"),
    "export": Verb(
        meaning="write labels in the format of another tool: COCO, YOLO, VOC, Label Studio, FiftyOne"
    ),
    "quality": Verb(meaning="hold pseudo labels against the truth: precision and recall by class and size"),
    "sql": Verb(meaning="ask the tables"),
    "catalog": Verb(meaning="write the views as a small database file for any DuckDB client"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one verb and leave with its exit code."""
    vector = sys.argv[1:] if arguments is None else list(arguments)
    verb = VERBS.get(vector[0]) if vector else None
    if verb is not None and verb.builds_graphs:
        use_one_heap()  # before a verb's imports start threads
    sys.exit(run(vector))


def run(arguments: Sequence[str]) -> int:
    """Run one verb; return 0, 1 when `verify` found something, 2 for an error of the outside world, 130 when
    interrupted.
    """
    name, rest = (arguments[0], arguments[1:]) if arguments else (HELP[0], ())
    try:
        return _run_verb(name, rest)
    except KeyboardInterrupt:
        return _interrupted(name)
    except BrokenPipeError:
        if not _reader_left():
            raise
        _drop_output()
        return 2
    except Exception as error:
        if isinstance(error, RuntimeError) and str(error) == _DUCKDB_INTERRUPTED:
            return _interrupted(name)
        if not came_from_outside(error):
            raise
        if isinstance(error, OSError) and error.filename == STANDARD_OUTPUT:
            _drop_output()
        print(f"mixpl {name}: {printable(str(error)).replace(chr(10), ' ')}", file=sys.stderr)
        return 2


def _interrupted(name: str) -> int:
    resume = " with --resume" if name == "train" else ""
    print(f"mixpl {name}: interrupted; run the same command again{resume}", file=sys.stderr)
    return INTERRUPTED


def _run_verb(name: str, rest: Sequence[str]) -> int:
    if name in HELP:
        with escaped_output():
            print(_usage())
        return 0
    if name == "train" and PRINT_CONFIG in rest:
        return _print_config([argument for argument in rest if argument != PRINT_CONFIG])
    with named_output():  # where --help goes
        job, config = parse(name, rest)
    with escaped_output():
        result = job(config)
    return result if isinstance(result, int) else 0


def _print_config(rest: Sequence[str]) -> int:
    """Print what a run's `config.json` would hold, and train nothing."""
    from jobs.recipes.config_file import to_json
    from jobs.recipes.detector_defaults import resolve_detector
    from jobs.recipes.schedule import resolve_schedule

    with contextlib.redirect_stdout(sys.stderr):  # what a recipe says of its choices
        _, config = parse("train", rest)
    with answer_model_errors():
        print(to_json(resolve_schedule(resolve_detector(config))), end="")
    return 0


def parse(name: str, rest: Sequence[str]) -> tuple[Job, Any]:
    """Return the function of a verb and the configuration that these arguments make. Raises ConfigError."""
    if name not in VERBS:
        raise ConfigError(f"unknown verb; {_nearest_verb(name)}")
    job, kind = _load(name)
    with answer_model_errors():
        if VERBS[name].takes_recipe:
            return job, _parse_run(name, kind, rest)
        return job, tyro.cli(kind, prog=f"mixpl {name}", description=VERBS[name].meaning, args=list(rest))


def _parse_run(name: str, kind: type[Any], rest: Sequence[str]) -> Any:
    """Return the configuration of a verb that starts from a recipe: what is asked for, over the recipe."""
    from jobs.recipes.asked import Asked, given_options
    from jobs.recipes.choose_recipe import choose_recipe, describe_recipes
    from jobs.recipes.train_config import TrainConfig

    recipe, rest = choose_recipe(rest)
    printed = (
        f"\n{PRINT_CONFIG} prints the resolved configuration and trains nothing." if name == "train" else ""
    )
    description = f"{VERBS[name].meaning}\n\n{describe_recipes()}{printed}"

    def over(draft: TrainConfig) -> Any:
        default = draft if isinstance(draft, kind) else kind.from_recipe(draft)
        prog = f"mixpl {name} {recipe.name}"
        return tyro.cli(kind, prog=prog, description=description, args=list(rest), default=default)

    config = over(recipe.config)
    if recipe.fit is None:
        return config
    run_config = config if isinstance(config, TrainConfig) else config.run
    return over(recipe.fit(Asked(config=run_config, options=given_options(rest))))


def _load(name: str) -> tuple[Job, type[Any]]:
    """Import the file of a verb; return its function, and its configuration: the type of `config`."""
    job: Job = getattr(importlib.import_module(f"jobs.{name}"), VERBS[name].function or name)
    return job, inspect.get_annotations(job, eval_str=True)["config"]


def _reader_left() -> bool:
    """Return whether nobody reads standard output any more, as after `| head`."""
    poll = select.poll()
    poll.register(sys.stdout, 0)  # POLLERR is reported unasked
    return bool(poll.poll(0))


def _drop_output() -> None:
    """Send what still waits for standard output nowhere: else Python tries again at its end, and complains."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _nearest_verb(name: str) -> str:
    close = difflib.get_close_matches(name, VERBS, n=1)
    return f"did you mean `mixpl {close[0]}`?" if close else f"the verbs are {', '.join(VERBS)}"


def _usage() -> str:
    width = max(map(len, VERBS))
    lines = [f"  {name:<{width}}  {verb.meaning}" for name, verb in VERBS.items()]
    return "\n".join(["usage: mixpl VERB …  (`mixpl VERB --help` for its options)", "", *lines])


if __name__ == "__main__":
    main()
