"""A detector of Hugging Face's library as the folder that its own `from_pretrained` takes.

In: a detector whose network the library built, its classes, a text (the card of the model). Out: `config.json`
with the classes (`id2label`) and the text, `model.safetensors`; and the weights and the text again. Guaranteed:
no pickle; what the library cannot read is a TorchFileError.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from model.detector import Detector
from model.errors import ModelError, TorchFileError
from model.weights.state_file import CARD_KEY, NORM_COUNTER, State

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"


def write_huggingface(folder: Path, detector: Detector, *, classes: Sequence[str], card: str) -> None:
    """Write the folder. Raises ModelError for a detector of another library."""
    network = library_network(detector)
    network.config.id2label = dict(enumerate(classes))
    network.config.label2id = {name: index for index, name in enumerate(classes)}
    setattr(network.config, CARD_KEY, card)
    network.save_pretrained(folder)


def library_network(detector: Detector) -> Any:
    """Return the network of the library. Raises ModelError for a detector of another one."""
    network: Any = detector.network
    if not hasattr(network, "save_pretrained"):
        raise ModelError(
            "expected a detector of Hugging Face's library for --format huggingface, got "
            f"{type(detector).__name__}: export it as --format torch or safetensors"
        )
    return network


def is_library_folder(folder: Path) -> bool:
    """Return whether a folder is what `save_pretrained` of the library wrote; a run's config.json names no kind."""
    try:
        config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and "model_type" in config


def folder_card(folder: Path) -> str | None:
    """Return the text in the folder; None where there is none. Raises TorchFileError for a broken config.json."""
    if not (folder / CONFIG_FILE).is_file():
        return None
    try:
        config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except ValueError as error:
        raise TorchFileError(f"expected JSON in {CONFIG_FILE}, got {error}") from error
    card = config.get(CARD_KEY) if isinstance(config, dict) else None
    return card if isinstance(card, str) else None


def folder_state(folder: Path, detector: Detector) -> State:
    """Return the weights in the folder under the names of the network of `detector`, which is of its kind.

    Raises TorchFileError when they are damaged or not all there.
    """
    kind: Any = type(library_network(detector))
    try:
        network, info = kind.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, output_loading_info=True
        )
    except Exception as error:  # of the library, of safetensors, of the system
        raise TorchFileError(" ".join(str(error).split())[:200]) from error
    if lacking := sorted(info["missing_keys"]):
        raise TorchFileError(f"{WEIGHTS_FILE} lacks {lacking[0]} and {len(lacking) - 1} more")
    own, state = library_network(detector).state_dict(), network.state_dict()
    # the library builds the frozen batch-norm, which has none
    counters = {name: value for name, value in own.items() if name.endswith(NORM_COUNTER)}
    return {**state, **counters}
