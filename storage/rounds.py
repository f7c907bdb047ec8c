"""Rounds of pseudo labels: ROOT/round=0003/ with one table a shard, and `round.json` written last.

In: what a labeling job did. Out: `Round`: its number, its tables, and once it is complete its `RoundInfo`.
`begun.json`, written first and by one process only, says whose round it is, so that the labels of two
teachers never lie in one. A finished round is never changed, only superseded by the next; one without
`round.json` is visible as incomplete and can be continued.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from storage import files
from storage.label_store import LabelStore

BEGUN_FILE = "begun.json"
ROUND_FILE = "round.json"
SCHEMA_VERSION = 1

_FOLDER = re.compile(r"round=(\d+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundInfo:
    """What `round.json` says of a complete round."""

    number: int
    dataset_name: str
    dataset_root: str
    dataset_hash: str
    """`Dataset.hash` of the images that were labeled."""
    classes: tuple[str, ...]
    score_threshold: float
    """Boxes that score higher count as pseudo labels; the tables hold the lower ones too."""
    num_images: int
    num_boxes: int
    """All boxes in the tables, whatever their score."""
    seconds: float
    """Wall time of the labeling job."""
    provenance: Mapping[str, Any]
    """Weights and their hash, teacher step, run, split hash, config hash, code version."""
    finished_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="milliseconds"))
    """UTC, ISO 8601. The latest round of a data set is the one that finished last."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """One round below a folder of rounds; `info` is None until it is complete."""

    path: str
    number: int
    info: RoundInfo | None

    @property
    def complete(self) -> bool:
        """Return whether every shard of the round is labeled."""
        return self.info is not None

    def labels(self, *, num_classes: int | None = None) -> LabelStore:
        """Return the label tables, of which an incomplete round has only some."""
        return LabelStore(self.path, num_classes=num_classes)

    def begin(self, terms: Mapping[str, Any]) -> bool:
        """Claim the round for labels made on these terms (JSON); return whether nobody had claimed it."""
        return files.create(files.join(self.path, BEGUN_FILE), _text(terms))

    def terms(self) -> dict[str, Any] | None:
        """Return the terms on which the round was begun, or None."""
        location = files.join(self.path, BEGUN_FILE)
        try:
            found = json.loads(files.read_bytes(location))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except json.JSONDecodeError as error:
            raise ValueError(f"expected JSON, got {error}: {location}; label the round again") from None
        return found if isinstance(found, dict) else {}

    def finish(self, info: RoundInfo) -> Round:
        """Declare the round complete. Raises ValueError when it already is."""
        if self.complete or files.exists(files.join(self.path, ROUND_FILE)):
            raise ValueError(f"expected an incomplete round, got a finished one: {self.path}; begin the next")
        assert info.number == self.number, "a round keeps its number"
        content = asdict(info) | {"schema_version": SCHEMA_VERSION, "complete": True}
        files.write_atomic(files.join(self.path, ROUND_FILE), _text(content))
        return Round(path=self.path, number=self.number, info=info)


def open_round(path: str) -> Round:
    """Return the round at this path, complete or not; it need not exist yet.

    Raises ValueError when the folder is not named `round=NUMBER` or its `round.json` cannot be read.
    """
    name = path.rstrip("/").rsplit("/", 1)[-1]
    matched = _FOLDER.fullmatch(name)
    if matched is None:
        raise ValueError(f"expected a folder named round=NUMBER, got {name!r}: {path}")
    return Round(path=path.rstrip("/"), number=int(matched[1]), info=_info(path))


def round_path(root: str, number: int) -> str:
    """Return the folder of a round below a folder of rounds."""
    return files.join(root, f"round={number:04d}")


def list_rounds(root: str) -> list[Round]:
    """Return all rounds right below a folder, by number, complete or not."""
    found = [name for name in files.list_folders(root) if _FOLDER.fullmatch(name)]
    return sorted((open_round(files.join(root, name)) for name in found), key=lambda round_: round_.number)


def _text(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, indent=2).encode() + b"\n"


def _info(path: str) -> RoundInfo | None:
    location = files.join(path, ROUND_FILE)
    try:
        head = json.loads(files.read_bytes(location))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except json.JSONDecodeError as error:
        raise ValueError(f"expected JSON, got {error}: {location}; label the round again") from None
    known = isinstance(head, dict)
    version, complete = (head.pop(name, None) if known else None for name in ("schema_version", "complete"))
    if version != SCHEMA_VERSION or not complete:
        raise ValueError(
            f"expected a complete round of schema version {SCHEMA_VERSION}, got version {version}: "
            f"{location}; label the round again with this version"
        )
    try:
        return RoundInfo(**head | {"classes": tuple(head["classes"])})
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"expected the fields of a round, got {error!r}: {location}; label the round again"
        ) from None
