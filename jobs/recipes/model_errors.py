"""Errors of `model` as errors that `mixpl` answers in one line.

In: whatever builds a part of the model, or its settings, from what a user gave. Out: the same, or an error of the
tree in `storage.errors` with the same message.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from model.errors import ModelError, WeightsError
from storage.errors import ConfigError, SourceError


@contextlib.contextmanager
def answer_model_errors() -> Iterator[None]:
    """Turn WeightsError into SourceError, and any other ModelError into ConfigError."""
    try:
        yield
    except WeightsError as error:
        raise SourceError(str(error)) from error
    except ModelError as error:
        raise ConfigError(str(error)) from error
