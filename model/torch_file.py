"""A file of `torch.save` as plain tensors and containers, its records held against their checksums.

In: an open file. Out: what was saved, on the CPU; or a TorchFileError that says in one line why not. Guaranteed: no
pickle names a module; of a zip archive, which torch writes since 1.6, every record has the CRC-32 that was written
with it: torch writes them and does not look at them when it loads.
"""

from __future__ import annotations

import pickle
import zipfile
from typing import Any, BinaryIO

import torch

from model.errors import TorchFileError


def load_torch_file(file: BinaryIO) -> Any:
    """Return what was saved. Raises TorchFileError when it is damaged or holds more than plain values."""
    try:
        _check_records(file)
        file.seek(0)
        return torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, MemoryError, TorchFileError):
        raise
    except pickle.UnpicklingError:
        # torch's own text advises to load such files with all that their pickle does
        raise TorchFileError("it holds other things than tensors and plain values") from None
    except Exception as error:  # damaged bytes reach every line of a reader
        raise TorchFileError(
            " ".join(str(error).partition("\n")[0].split()) or type(error).__name__
        ) from error


def _check_records(file: BinaryIO) -> None:
    if zipfile.is_zipfile(file):
        file.seek(0)
        with zipfile.ZipFile(file) as archive:
            broken = archive.testzip()
        if broken is not None:
            raise TorchFileError(f"the bytes of its record {broken} are not those that were written")
