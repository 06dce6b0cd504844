"""Both ways of a point drag's gradient step are the same step, and ours costs less."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("diffusers")

from dragfield.benchmarks import point_speed  # noqa: E402
from dragfield.core.optimise.point_drag_settings import PointDragSettings  # noqa: E402

CPU = torch.device("cpu")
SMALL = dict(norm_num_groups=8, attention_head_dim=2, cross_attention_dim=8)
SETTINGS = PointDragSettings(reading="two_step", search=0)


@pytest.fixture(scope="module")
def case() -> point_speed.Case:
    made = point_speed.make_case(8, 128, CPU, projection=32, groups=2, **SMALL)
    g = torch.Generator().manual_seed(0)
    for p in made.backbone.model.parameters():
        p.copy_(torch.randn(p.shape, generator=g) * 0.2)
    return made


def test_the_published_step_and_ours_are_the_same(case) -> None:
    published, ours = case.published(SETTINGS), case.ours(SETTINGS)
    expected = [float(next(published)) for _ in range(2)]
    leaf = published.leaf.detach()
    published.close()
    states = [next(ours) for _ in range(2)]
    assert [float(s.loss) for s in states] == pytest.approx(expected, rel=1e-3)
    # Where a gradient is next to nothing, Adam's first steps follow its sign: those cells may differ.
    assert ((states[-1].z - leaf).abs() < 1e-3).float().mean() > 0.95


def test_the_published_way_leaves_the_weights_frozen_and_without_gradients(case) -> None:
    published = case.published()
    next(published)
    assert all(p.grad is not None for p in case.backbone.model.up_blocks[0].parameters() if p.ndim > 1)
    published.close()
    assert not any(p.requires_grad or p.grad is not None for p in (*case.backbone.model.parameters(), *case.head.parameters()))


def test_a_round_of_ours_takes_less_work_and_memory(case) -> None:
    same, carry = point_speed.measure(case, 1)
    assert (same["recipe"], carry["recipe"]) == ("same loss", "carry")
    # Far below what the suite shows at its own widths: here weights, and so their gradients, weigh next to nothing.
    assert carry["flops_ratio"] > 1.1 * same["flops_ratio"] > 1.1 * 1.2 and min(same["memory_ratio"], carry["memory_ratio"]) > 1.5
    for row in (same, carry):
        assert set(row["seconds"]) == {"published", "ours"} and row["time_ratio"] > 0


@pytest.mark.parametrize(("options", "words"), [(dict(sizes=(100,)), "multiples of 64"), (dict(widths=(40,)), "multiples of 32")])
def test_impossible_shapes_are_refused(options, words) -> None:
    with pytest.raises(ValueError, match=words):
        point_speed.run(**options)
