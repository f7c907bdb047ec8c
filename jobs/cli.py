"""The one door: `mixpl VERB …`.

In: the argument vector. Out: an exit code. Each verb's module is imported only when it is asked for, so that
`mixpl sql` does not wait for torch. An error of the outside world is one line on standard error, exit code 2;
an error of ours keeps its traceback.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TypeVar

import tyro

from jobs.run.interrupt import INTERRUPTED
from pipeline.heap import use_one_heap
from storage.errors import ConfigError

Config = TypeVar("Config")

VERBS = {
    "demo": "raw images to a trained detector, pseudo labels in SQL and pictures, in about 3 minutes",
    "synth": "draw a data set in COCO format to try things on",
    "prepare": "a published setting from the folders you downloaded: COCO partial, COCO full, VOC 07+12",
    "split": "divide a COCO file into labeled and unlabeled images by percent and fold",
    "shard": "pack images into tar shards and an image table",
    "verify": "check data sets and label rounds: files, tables, hashes, every image",
    "preview": "draw what the student will see of your data at one step",
    "train": "train a detector: MixPL, mean teacher or supervised",
    "profile": "where a pipeline's time goes, part by part, and which setting to change",
    "eval": "score a trained detector by COCO AP",
    "label": "write a teacher's pseudo labels for unlabeled shards",
    "export": "write labels in the format of another tool: COCO, YOLO, VOC, Label Studio, FiftyOne",
    "quality": "hold pseudo labels against the truth: precision and recall by class and size",
    "rounds": "list rounds of labels, compare two, pack one's many files into few",
    "sql": "ask the tables",
    "catalog": "write the views as a small database file for any DuckDB client",
}
_WITH_GRAPHS = {"demo", "preview", "train", "profile", "eval", "label"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one verb and leave with its exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given and given[0] in _WITH_GRAPHS:
        use_one_heap()  # before a verb's imports start threads
    sys.exit(run(given))


def run(arguments: Sequence[str]) -> int:
    """Run one verb; return 0, 1 when `verify` found something, 2 for an error of the outside world, 130 when
    interrupted.
    """
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0
    verb, rest = arguments[0], arguments[1:]
    try:
        return _dispatch(verb, rest)
    except (ValueError, OSError) as error:
        print(f"mixpl {verb}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"mixpl {verb}: interrupted; run the same command again to continue", file=sys.stderr)
        return INTERRUPTED


def _dispatch(verb: str, rest: Sequence[str]) -> int:
    match verb:
        case "demo":
            from jobs.demo import DemoConfig, demo

            demo(_parse(DemoConfig, verb, rest))
        case "synth":
            from jobs.synth import SynthConfig, synth

            synth(_parse(SynthConfig, verb, rest))
        case "prepare":
            from jobs.prepare import PrepareConfig, prepare

            prepare(_parse(PrepareConfig, verb, rest))
        case "split":
            from jobs.split import SplitConfig, split

            split(_parse(SplitConfig, verb, rest))
        case "shard":
            from jobs.shard import ShardConfig, shard

            shard(_parse(ShardConfig, verb, rest))
        case "verify":
            from jobs.verify import VerifyConfig, verify

            return verify(_parse(VerifyConfig, verb, rest))
        case "preview":
            from jobs.preview import PreviewConfig, preview
            from jobs.recipes.named import choose_recipe

            recipe, rest = choose_recipe(rest)
            default = PreviewConfig.of(recipe.config)
            preview(_parse(PreviewConfig, f"{verb} {recipe.name}", rest, default=default))
        case "train":
            from jobs.recipes.named import choose_recipe
            from jobs.recipes.train_config import TrainConfig
            from jobs.train import train

            recipe, rest = choose_recipe(rest)
            return train(_parse(TrainConfig, f"{verb} {recipe.name}", rest, default=recipe.config))
        case "profile":
            from jobs.profile import ProfileConfig, default_config, profile
            from jobs.recipes.named import choose_recipe

            recipe, rest = choose_recipe(rest)
            profiled = default_config(recipe.config)
            profile(_parse(ProfileConfig, f"{verb} {recipe.name}", rest, default=profiled))
        case "eval":
            from jobs.eval import EvalConfig, evaluate

            evaluate(_parse(EvalConfig, verb, rest))
        case "label":
            from jobs.label import LabelConfig, label

            return label(_parse(LabelConfig, verb, rest))
        case "export":
            from jobs.export import ExportConfig, export

            export(_parse(ExportConfig, verb, rest))
        case "quality":
            from jobs.quality import QualityConfig, quality

            quality(_parse(QualityConfig, verb, rest))
        case "rounds":
            from jobs.rounds import RoundsConfig, rounds

            rounds(_parse(RoundsConfig, verb, rest))
        case "sql":
            from jobs.sql import SqlConfig, sql

            sql(_parse(SqlConfig, verb, rest))
        case "catalog":
            from jobs.catalog import CatalogConfig, catalog

            catalog(_parse(CatalogConfig, verb, rest))
        case _:
            raise ConfigError(f"unknown verb; {_nearest_verb(verb)}")
    return 0


def _parse(kind: type[Config], verb: str, rest: Sequence[str], default: Config | None = None) -> Config:
    prog, description = f"mixpl {verb}", VERBS[verb.split()[0]]
    if default is None:
        return tyro.cli(kind, prog=prog, description=description, args=list(rest))
    return tyro.cli(kind, prog=prog, description=description, args=list(rest), default=default)


def _nearest_verb(verb: str) -> str:
    import difflib

    close = difflib.get_close_matches(verb, VERBS, n=1)
    return f"did you mean `mixpl {close[0]}`?" if close else f"the verbs are {', '.join(VERBS)}"


def _usage() -> str:
    width = max(map(len, VERBS))
    lines = [f"  {verb:<{width}}  {meaning}" for verb, meaning in VERBS.items()]
    return "\n".join(["usage: mixpl VERB …  (`mixpl VERB --help` for its options)", "", *lines])


if __name__ == "__main__":
    main()
