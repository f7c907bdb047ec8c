"""Plans of mixing keep the method's rules for every set of sizes."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.plans.mix_plans import Layer, MixPlan, plan_mix
from pipeline.settings import MixSettings, ViewSettings

SIZE = st.tuples(st.integers(1, 1333), st.integers(1, 1333))
CASES = st.integers(1, 6).flatmap(
    lambda batch: st.tuples(
        st.lists(SIZE, min_size=batch, max_size=batch),
        st.lists(SIZE, min_size=max(8, batch + 4), max_size=max(8, batch + 4)),
        st.integers(0, 1000),
    )
)
Case = tuple[list[tuple[int, int]], list[tuple[int, int]], int]


def drawn(case: Case, **changed: object) -> MixPlan:
    current, cached, seed = case
    return plan_mix(np.random.default_rng(seed), MixSettings(**changed), ViewSettings(), current, cached)


def layers(plan: MixPlan) -> Iterator[tuple[Layer, np.ndarray]]:
    for layer in plan.mixup.layers:
        yield layer, plan.mixup.canvas_sizes_B2
    if plan.mosaic is not None:
        yield plan.mosaic.tiles, np.tile(plan.mosaic.canvas_size, (4, 1))


@given(case=CASES)
def test_every_image_lies_inside_its_canvas_and_every_patch_inside_its_image(case: Case) -> None:
    for layer, canvas_N2 in layers(drawn(case)):
        assert (layer.offsets_N2 >= 0).all()
        assert (layer.offsets_N2 + layer.sizes_N2 <= canvas_N2).all()
        counts_N = np.diff(layer.patch_offsets_N1)
        assert ((counts_N >= 1) & (counts_N <= 19)).all()
        images_P = np.repeat(np.arange(len(layer)), counts_N)
        starts_P2, ends_P2 = layer.patches_P4[:, 1::-1], layer.patches_P4[:, :1:-1]
        assert (starts_P2 >= layer.offsets_N2[images_P]).all()
        assert (ends_P2 <= (layer.offsets_N2 + layer.sizes_N2)[images_P]).all()
        assert (ends_P2 - starts_P2 <= 0.1 * layer.sizes_N2[images_P]).all()


@given(case=CASES)
def test_partners_are_the_oldest_fitted_to_the_padded_batch_and_flipped(case: Case) -> None:
    current, cached, _ = case
    mixup = drawn(case).mixup
    assert mixup.partner is not None
    assert sorted(mixup.partner_positions_B) == list(range(len(current)))
    padded = -(-np.max(current, axis=0) // 32) * 32
    for position, source, size in zip(
        mixup.partner_positions_B, mixup.partner.source_sizes_N2, mixup.partner.sizes_N2, strict=True
    ):
        assert tuple(source) == cached[position]
        scale = min(padded / source)
        assert (size <= padded).all()
        assert np.abs(size - np.maximum(source * scale, 1)).max() <= 0.5 + 1e-9
    assert mixup.partner.flips_N.all()
    assert not mixup.current.flips_N.any()
    np.testing.assert_array_equal(mixup.current.sizes_N2, current)
    np.testing.assert_array_equal(mixup.canvas_sizes_B2, np.maximum(current, mixup.partner.sizes_N2))


@given(case=CASES)
def test_mosaic_tiles_are_those_of_the_published_code_and_touch_the_centre_cross(case: Case) -> None:
    num_images = len(case[0])
    mosaic = drawn(case).mosaic
    assert mosaic is not None
    assert sorted(mosaic.positions_4) == list(range(num_images, num_images + 4))
    tiles, (height, width) = mosaic.tiles, mosaic.canvas_size
    assert tiles.flips_N.all()
    largest = tiles.sizes_N2.max(axis=0)
    assert (height // 2, width // 2) == tuple(-(-largest // 16) * 16)
    assert tiles.sizes_N2.max() < 800
    ends_N2 = tiles.offsets_N2 + tiles.sizes_N2
    assert ends_N2[0].tolist() == [height // 2, width // 2]
    assert [ends_N2[1, 0], tiles.offsets_N2[1, 1]] == [height // 2, width // 2]
    assert [tiles.offsets_N2[2, 0], ends_N2[2, 1]] == [height // 2, width // 2]
    assert tiles.offsets_N2[3].tolist() == [height // 2, width // 2]
    assert mosaic.padded_size == mosaic.canvas_size  # 2 x 16 is the batch's multiple already


@given(case=CASES)
def test_the_same_generator_and_sizes_give_the_same_plan(case: Case) -> None:
    for (one, _), (other, _) in zip(layers(drawn(case)), layers(drawn(case)), strict=True):
        for name in Layer.__slots__:
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize("num_images", [1, 2, 3, 4, 6])
def test_tiles_of_every_batch_size_are_those_that_the_published_code_draws(num_images: int) -> None:
    """Cache positions B to B + 3: with 8 cached views the newest four only where B is 4."""
    settings = MixSettings()
    sizes = [(60, 80)] * settings.capacity(num_images)
    seen = set()
    for seed in range(20):
        mosaic = drawn((sizes[:num_images], sizes, seed)).mosaic
        assert mosaic is not None
        seen.add(tuple(mosaic.positions_4.tolist()))
        assert sorted(mosaic.positions_4) == [num_images + tile for tile in range(4)]
    assert len(seen) > 5


def test_nothing_is_mixed_until_the_cache_is_full() -> None:
    for num_cached in (0, 4, 7):
        plan = drawn(([(60, 80)] * 4, [(50, 50)] * num_cached, 0))
        assert plan.mosaic is None
        assert plan.mixup.partner is None
        assert plan.mixup.weights == (1.0,)
        assert plan.mixup.canvas_sizes_B2.tolist() == [[60, 80]] * 4
    assert drawn(([(60, 80)] * 4, [(50, 50)] * 8, 0)).mosaic is not None


def test_each_part_can_be_switched_off() -> None:
    case: Case = ([(60, 80)] * 4, [(50, 50)] * 8, 0)
    assert drawn(case, mixup=False).mixup.partner is None
    assert drawn(case, mixup=False).mosaic is not None
    assert drawn(case, mosaic=False).mosaic is None
    assert all(len(layer.patches_P4) == 0 for layer, _ in layers(drawn(case, erase=False)))


def test_offsets_reach_both_ends_of_the_canvas() -> None:
    offsets = []
    for seed in range(200):
        plan = drawn(([(32, 32), (29, 64)], [(10, 20)] * 8, seed))
        assert plan.mixup.partner is not None
        offsets.append(plan.mixup.current.offsets_N2[1, 0])
    assert set(offsets) == {0, 1, 2, 3}  # 29 of 32 rows are used


def test_the_mosaic_box_is_drawn_anew_from_400_to_799() -> None:
    longest = []
    for seed in range(60):
        mosaic = drawn(([(60, 80)] * 4, [(100, 100)] * 8, seed)).mosaic
        assert mosaic is not None
        longest.append(mosaic.tiles.sizes_N2.max())
    assert 400 <= min(longest) < 450
    assert 600 < max(longest) < 800
