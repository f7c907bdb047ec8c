"""What every format says of where its labels came from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportHeader:
    """The classes of an export, and its origin."""

    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    """Original ids of the classes, in the same order."""
    dataset: str
    round: int
    weights_hash: str | None
    """Of the teacher that labeled."""
    selection: str
    """Which boxes: the condition, or the rule of the round."""

    @property
    def description(self) -> str:
        """Return one line of text."""
        return f"Pseudo labels of {self.dataset}, round {self.round}: boxes with {self.selection}"

    @property
    def model_version(self) -> str:
        """Return a short name of the teacher that tools can group by."""
        return f"round-{self.round}" + (f"-{self.weights_hash[:8]}" if self.weights_hash else "")
