"""Contrastive denoising: queries made of true boxes and classes with noise, of which half are to be refused.

In: the true boxes of a batch and draws. Out: `DenoisingQueries`, put before the queries that are matched, and what
each is to become. Every true box gives, in each of several groups, a positive query whose corners moved by less
than half a side, to be put right, and a negative one that moved further, to be called background. Queries of
different groups do not see each other, and those that are matched see none of them. Source: DINO (arXiv 2203.03605)
section 3.2.

Random: a recipe that is to resume exactly holds the state of torch's global generators, from which
`Denoising.draw_noise` draws. Shapes: B images, T true boxes of the batch, G groups, M most boxes of an image,
N = 2 G M queries, Q queries that are matched, D channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.detectors.dino.assignment import Assignment, Truth
from model.detectors.dino.positions import inverse_sigmoid

_CLASS_NOISE = 0.25
"""Share of queries whose class is drawn anew."""
_BOX_NOISE = 0.5
"""How far the corner of a positive query moves at most, in sides of its box; a negative one, twice that."""
_EPS = 1e-3


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Noise:
    """Draws of one batch; the axis of length 2 is positive, negative."""

    chances_TG2: Tensor
    """In 0 .. 1: whether the class is drawn anew."""
    classes_TG2: Tensor
    """int64: the class that is drawn."""
    shares_TG24: Tensor
    """In 0 .. 1: how far each side moves."""
    signs_TG24: Tensor
    """-1 or 1: where to."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DenoisingQueries:
    """Queries that are shown what is true, spoiled."""

    contents_BND: Tensor
    references_BN4: Tensor
    num_groups: int
    assignment: Assignment
    """Which of them are to become which true box; the others are background."""

    def blocked(self, num_matched: int) -> Tensor:
        """Return a mask (N + Q, N + Q), True where the row's query may not look at the column's."""
        num_queries, device = self.contents_BND.shape[1], self.contents_BND.device
        group_N = torch.arange(num_queries, device=device) // max(1, num_queries // self.num_groups)
        group = torch.cat([group_N, group_N.new_full((num_matched,), -1)])
        return (group[:, None] != group) & (group >= 0)


class Denoising(nn.Module):
    """Makes denoising queries; holds an embedding of every class."""

    def __init__(self, *, num_classes: int, channels: int, num_positives: int) -> None:
        """`num_positives`: of an image at most, where it has not more boxes; they decide the number of groups."""
        super().__init__()
        self.num_positives = num_positives
        self.class_embedding = nn.Embedding(num_classes, channels)

    def draw_noise(self, truth: Truth) -> Noise:
        """Return new draws from the global generator of the boxes' device."""
        device = truth.boxes_T4.device
        num_groups = max(1, self.num_positives // max(1, *truth.counts_B))
        shape = (len(truth.boxes_T4), num_groups, 2)
        return Noise(
            chances_TG2=torch.rand(shape, device=device),
            classes_TG2=torch.randint(self.class_embedding.num_embeddings, shape, device=device),
            shares_TG24=torch.rand(*shape, 4, device=device),
            signs_TG24=torch.randint(2, (*shape, 4), device=device) * 2.0 - 1.0,
        )

    def forward(self, truth: Truth, noise: Noise) -> DenoisingQueries:
        """Return the queries of a batch: none where no image has a box; the embedding has a gradient even so."""
        num_groups = noise.classes_TG2.shape[1]
        anew_TG2 = noise.chances_TG2 < _CLASS_NOISE
        classes_TG2 = torch.where(anew_TG2, noise.classes_TG2, truth.classes_T[:, None, None])
        boxes_TG24 = _move_sides(truth.shares_T4, noise)
        references_BN4 = _by_image(inverse_sigmoid(boxes_TG24, _EPS), truth).sigmoid()
        return DenoisingQueries(
            contents_BND=_by_image(self.class_embedding(classes_TG2), truth),
            references_BN4=references_BN4,
            num_groups=num_groups,
            assignment=_assign(truth, num_groups),
        )


def _move_sides(boxes_T4: Tensor, noise: Noise) -> Tensor:
    """Return boxes (T, G, 2, 4) whose corners moved, kept in the image; in and out: centres and sides."""
    centres_T2, sides_T2 = boxes_T4.chunk(2, dim=-1)
    corners_T4 = torch.cat([centres_T2 - sides_T2 / 2, centres_T2 + sides_T2 / 2], dim=-1)
    further_2 = torch.arange(2, device=boxes_T4.device)[:, None]
    moves_TG24 = (noise.shares_TG24 + further_2) * noise.signs_TG24 * sides_T2.repeat(1, 2)[:, None, None]
    upper, lower = (corners_T4[:, None, None] + _BOX_NOISE * moves_TG24).clamp(0, 1).chunk(2, dim=-1)
    return torch.cat([(upper + lower) / 2, lower - upper], dim=-1)


def _by_image(values_TG2x: Tensor, truth: Truth) -> Tensor:
    """Return the values as (B, N, x): group by group, positives first, 0 where an image has fewer boxes."""
    _, num_groups, _, width = values_TG2x.shape
    num_images, most = len(truth.counts_B), max(truth.counts_B, default=0)
    padded_BMG2x = values_TG2x.new_zeros(num_images, most, num_groups, 2, width)
    padded_BMG2x[truth.images_T, truth.places_T] = values_TG2x
    return padded_BMG2x.permute(0, 2, 3, 1, 4).flatten(1, 3)


def _assign(truth: Truth, num_groups: int) -> Assignment:
    """Return which query of which image is to become which true box: the positive one of every group."""
    device = truth.images_T.device
    first_G1 = torch.arange(num_groups, device=device)[:, None] * (2 * max(truth.counts_B, default=0))
    true_T = torch.arange(len(truth.images_T), device=device)
    return Assignment(
        images_LP=truth.images_T.repeat(1, num_groups),
        queries_LP=(first_G1 + truth.places_T).view(1, -1),
        truths_LP=true_T.repeat(1, num_groups),
    )
