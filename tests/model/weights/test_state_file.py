"""Files of weights: they load into the plain library model, and say what they are."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision.models.detection import fcos_resnet50_fpn

from model.detectors.build import build_detector
from model.errors import TorchFileError
from model.weights.state_file import StateFile, read_state_file, write_safetensors, write_torch

Write = Callable[[Path, Mapping[str, Tensor], str], None]
FORMATS = pytest.mark.parametrize(
    ("ending", "write"), [(".pth", write_torch), (".safetensors", write_safetensors)]
)


def read(path: Path) -> StateFile:
    with path.open("rb") as file:
        return read_state_file(file, path)


@FORMATS
def test_weights_and_text_come_back_as_they_were(ending: str, write: Write, tmp_path: Path) -> None:
    shared = torch.arange(6.0).reshape(2, 3)
    state = {"a": shared, "b.turned": shared.T, "count": torch.tensor(3)}
    write(tmp_path / f"w{ending}", state, '{"ä": 1}')
    content = read(tmp_path / f"w{ending}")
    assert content.card == '{"ä": 1}'
    assert list(content.state) == ["a", "b.turned", "count"]
    assert all(torch.equal(content.state[name], value) for name, value in state.items())


def test_a_file_of_torch_loads_strictly_into_the_plain_model_of_the_library(tmp_path: Path) -> None:
    detector = build_detector("fcos-resnet50", num_classes=3, seed=0)
    write_torch(tmp_path / "w.pth", detector.network.state_dict(), "text")  # type: ignore[operator, union-attr]
    plain = fcos_resnet50_fpn(weights=None, weights_backbone=None, num_classes=4)
    plain.load_state_dict(torch.load(tmp_path / "w.pth", weights_only=True))
    mine, theirs = detector.state_dict(), plain.state_dict()
    assert all(torch.equal(value, theirs[name.removeprefix("network.")]) for name, value in mine.items())


def test_a_file_of_another_program_has_no_text(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "w.pth")
    assert read(tmp_path / "w.pth").card is None


@FORMATS
def test_a_damaged_file_is_refused(ending: str, write: Write, tmp_path: Path) -> None:
    path = tmp_path / f"w{ending}"
    write(path, {"a": torch.zeros(100)}, "text")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(TorchFileError):
        read(path)


def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    class Runs:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"a": Runs()}, tmp_path / "zip.pth")
    (tmp_path / "old.pth").write_bytes(pickle.dumps({"a": Runs()}))
    for name in ("zip.pth", "old.pth"):
        with pytest.raises(TorchFileError):
            read(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_what_is_no_state_dict_is_refused_by_what_it_holds(tmp_path: Path) -> None:
    torch.save({"model": {}, "epoch": 3}, tmp_path / "w.pth")
    with pytest.raises(TorchFileError, match=r"names to tensors\), got a dictionary of model, epoch"):
        read(tmp_path / "w.pth")
