"""Weights of a detector in one of other classes: heads of classes with the same name keep their rows.

In: the state of a network and its classes; a detector, the same with one class more, and the detector's
classes. Out: the detector with every weight loaded but the rows of classes that the state does not know, which
stay as they were drawn. Guaranteed: which tensors go by the classes is read from the two detectors and not from
a list of names; a state of another network is a WeightsError before any value changes.

Layouts, K classes: torchvision keeps row 0 of K + 1 for the background, and has them by anchor (A x (K + 1),
heads of all anchors) or by class ((K + 1) x 4, boxes). The others have K rows of classes, and behind them what
is no class: the background, the padding of an embedding, boxes and centreness.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from model.detector import Detector
from model.detectors.torchvision.adapter import TorchvisionDetector
from model.errors import WeightsError
from model.weights.state_file import NORM_COUNTER

_BY_CLASS_THEN_SIDE = "bbox_pred"


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedClasses:
    """What became of the heads of the detector's classes."""

    kept: tuple[str, ...]
    drawn: tuple[str, ...]


def load_by_class(
    detector: Detector,
    one_more: Detector,
    state: Mapping[str, Tensor],
    *,
    classes: Sequence[str],
    state_classes: Sequence[str],
    source: str,
) -> LoadedClasses:
    """Load the state of a network of `state_classes` into `detector`, which is of `classes`.

    `one_more` is built as `detector` is, with one class more. Raises WeightsError naming `source`.
    """
    network: Any = detector.network
    own, wider = network.state_dict(), one_more.network.state_dict()  # type: ignore[union-attr]
    by_classes = {
        name: len(wider[name]) - len(own[name]) for name in own if own[name].shape != wider[name].shape
    }
    background_first = isinstance(detector, TorchvisionDetector)
    pairs = [(state_classes.index(name), at) for at, name in enumerate(classes) if name in state_classes]
    _require_same_network(own, state, by_classes, len(state_classes) - len(classes), source)
    loaded = {name: state[name] for name in own if name in state}
    for name, per_class in by_classes.items():
        layout = _Layout(
            per_class=per_class, background_first=background_first, class_first=_BY_CLASS_THEN_SIDE in name
        )
        loaded[name] = layout.moved(state[name], own[name], pairs, (len(state_classes), len(classes)))
    network.load_state_dict(loaded, strict=False)
    kept = tuple(classes[at] for _, at in pairs)
    return LoadedClasses(kept=kept, drawn=tuple(name for name in classes if name not in kept))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Layout:
    """Where the rows of classes lie in a tensor."""

    per_class: int
    background_first: bool
    class_first: bool

    def moved(
        self, theirs: Tensor, ours: Tensor, pairs: Sequence[tuple[int, int]], num_classes: tuple[int, int]
    ) -> Tensor:
        """Return our tensor with their rows of the classes in `pairs` (theirs, ours), and of what is no class."""
        result = ours.clone()
        their_rows, our_rows = (
            self._by_class(tensor, number)
            for tensor, number in zip((theirs, result), num_classes, strict=True)
        )
        for their_class, our_class in pairs:
            our_rows[our_class] = their_rows[their_class]
        self._rest(result, num_classes[1]).copy_(self._rest(theirs, num_classes[0]))
        return result

    def _by_class(self, tensor: Tensor, num_classes: int) -> Tensor:
        """Return a view whose first axis is the classes."""
        if not self.background_first:
            return tensor[:num_classes]
        return self._with_background(tensor, num_classes)[1:]

    def _rest(self, tensor: Tensor, num_classes: int) -> Tensor:
        """Return a view of what is no class."""
        if not self.background_first:
            return tensor[num_classes:]
        return self._with_background(tensor, num_classes)[0]

    def _with_background(self, tensor: Tensor, num_classes: int) -> Tensor:
        rest = tensor.shape[1:]
        if self.class_first:
            return tensor.view(num_classes + 1, self.per_class, *rest)
        return tensor.view(self.per_class, num_classes + 1, *rest).transpose(0, 1)


def _require_same_network(
    own: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    by_classes: Mapping[str, int],
    more_classes: int,
    source: str,
) -> None:
    """Raise WeightsError unless the state has the network's names and shapes, for its own number of classes."""
    missing = sorted(name for name in own.keys() - state.keys() if not name.endswith(NORM_COUNTER))
    foreign = sorted(name for name in state.keys() - own.keys() if not name.endswith(NORM_COUNTER))
    if missing or foreign:
        what = f"no {missing[0]}" if missing else f"{foreign[0]}, which it has not"
        raise WeightsError(
            f"expected weights of the same detector, with the same backbone and size, got {what}: {source}"
        )
    for name, tensor in own.items():
        expected = list(tensor.shape)
        if name in by_classes:
            expected[0] += by_classes[name] * more_classes
        if name in state and list(state[name].shape) != expected:
            raise WeightsError(
                f"expected weights of the same detector, with the same backbone and size, got {name} of "
                f"{tuple(state[name].shape)} in place of {tuple(expected)}: {source}"
            )
