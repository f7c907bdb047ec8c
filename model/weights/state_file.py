"""State dicts as files: torch's own and safetensors, with a text that says what they are inside the same file.

In: names to tensors, and a text (the card of the model, as JSON). Out: one file; and both again. The text stands
where the formats have a place for it: in a state dict's own metadata (`_metadata`, which `load_state_dict` looks
up by the names of modules and passes over otherwise), and in the header of safetensors. So a file loads strictly
into the plain library model, with or without the text being read. Guaranteed: no pickle names a module; what is
damaged is a TorchFileError.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from model.errors import TorchFileError
from model.torch_file import load_torch_file

CARD_KEY = "mixpl"
"""Under this name the text stands in a file."""
NORM_COUNTER = "num_batches_tracked"
"""End of the names of buffers of live batch-norm that the frozen one has not; they count and decide nothing."""

State = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StateFile:
    """What a file of weights holds."""

    state: State
    card: str | None
    """The text beside the weights; None in a file of another program."""


def write_torch(path: Path, state: Mapping[str, Tensor], card: str) -> None:
    """Write a state dict that `torch.load` gives back, with the text in its metadata."""
    annotated: Any = OrderedDict(_separate(state))
    annotated._metadata = OrderedDict({CARD_KEY: card})
    torch.save(annotated, path)


def write_safetensors(path: Path, state: Mapping[str, Tensor], card: str) -> None:
    """Write a file of safetensors with the text in its header."""
    from safetensors.torch import save_file  # 0.1 s

    save_file(_separate(state), path, metadata={"format": "pt", CARD_KEY: card})


def read_state_file(file: BinaryIO, path: Path) -> StateFile:
    """Return the weights in a file that is open, and is named by `path`; safetensors by their ending.

    Raises TorchFileError for a damaged file, one that holds other things than tensors and plain values, and one
    that is no state dict.
    """
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    content = load_torch_file(file)
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise TorchFileError(f"expected a state dict (names to tensors), got {_outline(content)}")
    metadata = getattr(content, "_metadata", {})
    card = metadata.get(CARD_KEY)
    return StateFile(state=dict(content), card=card if isinstance(card, str) else None)


def _read_safetensors(path: Path) -> StateFile:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as opened:
            state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (no mapping)
            return StateFile(state=state, card=(opened.metadata() or {}).get(CARD_KEY))
    except SafetensorError as error:
        raise TorchFileError(f"no whole file of safetensors: {error}") from error


def _separate(state: Mapping[str, Tensor]) -> State:
    """Return tensors on the CPU, contiguous, none sharing memory with another: safetensors holds no views."""
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}


def _outline(content: object) -> str:
    if isinstance(content, dict):
        return f"a dictionary of {', '.join(map(str, list(content)[:5]))}"
    return type(content).__name__
