"""One training step and one prediction of each detector on CUDA in bfloat16."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch

from model.detectors.build import build_detector
from model.detectors.spec import DetectorName
from model.method.optim import build_optimizer
from model.method.schedule import Schedule
from model.method.teacher import Teacher
from model.method.weight_update import clip_gradient


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", get_args(DetectorName))
def test_a_step_in_bfloat16_on_cuda_changes_the_weights_and_the_teacher_predicts(
    name: DetectorName, drawn: Any
) -> None:
    device = torch.device("cuda")
    student = build_detector(name, num_classes=3, seed=0).to(device)
    teacher = Teacher(student, interval=1)
    optimizer = build_optimizer(student, name="sgd", lr=0.01, weight_decay=1e-4)
    before = [parameter.detach().clone() for parameter in student.parameters() if parameter.requires_grad]
    images = drawn.images_BCHW.to(device)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        parts = student(images, drawn.sizes_B2, [target.to(device) for target in drawn.targets])
    assert all(part.dtype == torch.float32 and part.isfinite() for part in parts.values())
    torch.stack(list(parts.values())).sum().backward()  # type: ignore[no-untyped-call]
    clip_gradient(student.parameters(), 20.0)
    Schedule(warmup_steps=0).apply(optimizer, 0)
    optimizer.step()
    teacher.update(student, 0)
    after = [parameter for parameter in student.parameters() if parameter.requires_grad]
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))
    with torch.autocast("cuda", dtype=torch.bfloat16):
        found = teacher.predict(images, drawn.sizes_B2)
    assert all(len(one) > 0 and one.boxes_N4.dtype == torch.float32 for one in found)
    assert all(one.boxes_N4.is_cuda and one.boxes_N4.isfinite().all() for one in found)
