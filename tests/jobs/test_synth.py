"""The drawn benchmark: same bytes from a seed, disjoint parts, tight boxes, the class shares it promises."""

import hashlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO

from jobs.synth import NUM_IMAGES, SCENES, Preset, SynthConfig, synth
from jobs.synthetic.backgrounds import BRIGHTEST, PHOTOS, draw_background, photos
from jobs.synthetic.scene import MAX_OVERLAP, class_shares, draw_scene
from jobs.synthetic.shapes import NUM_VARIANTS, SHAPES, draw_shape, part_variants, variant_parameters
from storage.errors import ConfigError, SourceError


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    root = tmp_path_factory.mktemp("synth") / "tiny"
    return root, synth(SynthConfig(out=str(root), preset="tiny", workers=1))


def digests(root):
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_several_processes_write_the_same_bytes_as_one(tiny, tmp_path):
    synth(SynthConfig(out=str(tmp_path / "again"), preset="tiny", workers=3))
    assert digests(tmp_path / "again") == digests(tiny[0])


def test_an_image_depends_on_seed_part_and_number_alone(tiny):
    scene = draw_scene(SCENES["tiny"], seed=0, part="train", index=137)
    document = json.loads((tiny[0] / "train.json").read_text())
    boxes = np.array([a["bbox"] for a in document["annotations"] if a["image_id"] == 138])
    np.testing.assert_array_equal(boxes[:, :2], scene.boxes_N4[:, :2])
    for other in ({"seed": 1}, {"part": "test"}, {"index": 138}):
        elsewhere = draw_scene(SCENES["tiny"], **({"seed": 0, "part": "train", "index": 137} | other))
        assert not np.array_equal(elsewhere.pixels_HW3, scene.pixels_HW3)


def test_the_files_are_valid_coco(tiny, capsys):
    root, result = tiny
    for part in ("train", "test"):
        coco = COCO(str(root / f"{part}.json"))
        assert len(coco.imgs) == NUM_IMAGES["tiny"][part] == result.num_images[part]
        assert len(coco.anns) == result.num_boxes[part]
        assert [category["name"] for category in coco.cats.values()] == list(SHAPES[:6])
        for image in coco.imgs.values():
            with Image.open(root / "images" / part / image["file_name"]) as opened:
                assert opened.size == (image["width"], image["height"]) == (64, 64)


def test_the_train_part_is_long_tailed_and_the_test_part_balanced(tiny):
    counts = {}
    for part in ("train", "test"):
        document = json.loads((tiny[0] / f"{part}.json").read_text())
        counts[part] = np.bincount([a["category_id"] - 1 for a in document["annotations"]], minlength=6)
    assert 15 < counts["train"][0] / counts["train"][5] < 60
    assert counts["test"].max() / counts["test"].min() < 1.5


def test_class_shares_span_the_stated_imbalance():
    for scene in SCENES.values():
        shares = class_shares(scene, "train")
        assert shares[0] / shares[-1] == pytest.approx(scene.imbalance)
        assert shares.sum() == pytest.approx(1)
        assert np.ptp(class_shares(scene, "test")) == 0


def test_train_and_test_share_no_variant_and_no_photo():
    assert not set(part_variants("train")) & set(part_variants("test"))
    assert len(part_variants("train")) + len(part_variants("test")) == NUM_VARIANTS
    assert not set(PHOTOS["train"]) & set(PHOTOS["test"])
    contents = [hashlib.sha256(photo.tobytes()).digest() for part in PHOTOS for photo in photos(part)]
    assert len(set(contents)) == len(PHOTOS["train"]) + len(PHOTOS["test"])
    for part in ("train", "test"):
        drawn = [draw_scene(SCENES["small"], seed=0, part=part, index=index) for index in range(20)]
        assert set(np.concatenate([scene.variants_N for scene in drawn])) <= set(part_variants(part))


def test_no_two_variants_of_a_class_are_the_same_shape():
    for shape in SHAPES:
        parameters = np.array([variant_parameters(shape, variant) for variant in range(NUM_VARIANTS)])
        distances = np.abs(parameters[:, None] - parameters[None]).max(axis=2)
        assert distances[~np.eye(NUM_VARIANTS, dtype=bool)].min() > 0.05


@given(
    shape=st.sampled_from(SHAPES),
    variant=st.integers(0, NUM_VARIANTS - 1),
    height=st.floats(12, 110),
    rotation=st.floats(-0.35, 0.35),
)
@settings(max_examples=150, deadline=None)
def test_boxes_are_tight_to_the_drawn_pixels(shape, variant, height, rotation):
    mask = draw_shape(shape, variant, height=height, rotation=rotation)
    rows, columns = np.flatnonzero(mask.coverage_HW.any(axis=1)), np.flatnonzero(mask.coverage_HW.any(axis=0))
    left, top, right, bottom = mask.box_4
    assert columns[0] <= left < columns[0] + 1
    assert columns[-1] < right <= columns[-1] + 1
    assert rows[0] <= top < rows[0] + 1
    assert rows[-1] < bottom <= rows[-1] + 1
    assert bottom - top == pytest.approx(height, abs=0.75)
    assert 0.1 < mask.coverage_HW.sum() / ((right - left) * (bottom - top)) <= 1


def test_coverage_of_a_square_adds_up_to_its_area():
    mask = draw_shape("square", 0, height=40, rotation=0)
    left, top, right, bottom = mask.box_4
    assert mask.coverage_HW.sum() == pytest.approx((right - left) * (bottom - top), rel=0.1)
    assert set(np.unique(mask.coverage_HW[15:25, 15:25])) == {1.0}


@given(
    preset=st.sampled_from(["tiny", "small", "large"]),
    part=st.sampled_from(["train", "test"]),
    index=st.integers(0, 10_000),
)
@settings(max_examples=40, deadline=None)
def test_objects_lie_inside_the_image_and_hardly_overlap(preset, part, index):
    scene = draw_scene(SCENES[preset], seed=5, part=part, index=index)
    boxes = scene.boxes_N4
    assert len(boxes) >= 1
    assert (boxes >= 0).all()
    assert (boxes <= SCENES[preset].size).all()
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    shared = np.prod(
        np.clip(
            np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
            - np.maximum(boxes[:, None, :2], boxes[None, :, :2]),
            0,
            None,
        ),
        axis=2,
    )
    np.fill_diagonal(shared, 0)
    assert (shared <= MAX_OVERLAP * np.minimum(areas[:, None], areas[None]) + 1e-9).all()


def test_objects_are_brighter_than_the_background_around_them():
    brighter, total = 0, 0
    for index in range(20):
        scene = draw_scene(SCENES["small"], seed=0, part="train", index=index)
        grey = scene.pixels_HW3.mean(axis=2)
        inside = np.zeros(grey.shape, bool)
        for x1, y1, x2, y2 in scene.boxes_N4.round().astype(int):
            inside[y1:y2, x1:x2] = True
        background = np.median(grey[~inside])
        for x1, y1, x2, y2 in scene.boxes_N4.round().astype(int):
            brighter += np.percentile(grey[y1:y2, x1:x2], 80) > background + 20
            total += 1
    assert brighter / total > 0.95


def test_backgrounds_stay_darker_than_objects():
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        background = draw_background(part, 96, rng)
        assert background.shape == (96, 96, 3)
        assert background.dtype == np.float32
        assert 0 <= background.min() <= background.max() <= BRIGHTEST


def test_a_folder_with_another_data_set_is_refused(tiny, tmp_path):
    with pytest.raises(ConfigError, match="'seed': 0"):
        synth(SynthConfig(out=str(tiny[0]), preset="tiny", seed=1, workers=1))
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="other files"):
        synth(SynthConfig(out=str(tmp_path), preset="tiny", workers=1))


def test_a_missing_photo_is_named(monkeypatch):
    monkeypatch.setitem(PHOTOS, "train", ("unicorn.png",))
    photos.cache_clear()
    with pytest.raises(SourceError, match=r"unicorn\.png"):
        photos("train")
    photos.cache_clear()


def test_negative_numbers_are_refused():
    with pytest.raises(ConfigError, match="--seed must be at least 0, got -1"):
        SynthConfig(out="x", seed=-1)


def test_every_preset_states_its_number_of_images():
    assert set(SCENES) == set(NUM_IMAGES) == set(Preset.__args__)
