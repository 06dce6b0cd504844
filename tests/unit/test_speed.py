from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("diffusers")

from dragfield.benchmarks import speed  # noqa: E402
from dragfield.benchmarks.cost import count_flops, minimum_flops, peak_memory  # noqa: E402
from dragfield.benchmarks.published import PublishedDrag  # noqa: E402
from dragfield.core.field import DragField  # noqa: E402
from dragfield.core.instruction.operations import Drag, RegionOperation  # noqa: E402
from dragfield.core.optimise.region_drag import PUBLISHED, region_drag  # noqa: E402
from dragfield.core.sampling.sampler import FlowSampler  # noqa: E402

CPU = torch.device("cpu")
SMALL = {
    **speed.DEMO, "num_layers": 3, "num_single_layers": 2, "attention_head_dim": 16, "num_attention_heads": 2,
    "axes_dims_rope": (4, 6, 6), "joint_attention_dim": 12, "pooled_projection_dim": 6,
}  # fmt: skip


def small_case(size=128):
    case = speed.make_case("small", SMALL, 5, size, CPU, torch.float32)
    g = torch.Generator().manual_seed(0)
    for p in case.backbone.model.parameters():
        p.copy_(torch.randn(p.shape, generator=g) * 0.15)
    case.bank.entries.clear()
    case.backbone.velocity(case.z, speed.TIME, case.cond, kv=case.bank.capture())
    return case


def test_the_published_way_and_ours_descend_the_same_loss():
    # A shift by whole cells of the cut grid, where warping the enlarged map equals reading the map itself.
    case = small_case()
    mask = torch.zeros(128, 128, dtype=torch.bool)
    mask[32:96, 24:56] = True
    movable = torch.zeros(16, 16, dtype=torch.bool)
    movable[3:13, 2:14] = True
    field = DragField.from_drag(Drag((128, 128), (RegionOperation(mask.numpy(), "relocation", (40 + 32, 64)),)))
    entry = case.bank.entries[-1]
    published = PublishedDrag(case.backbone, case.z, speed.TIME, case.cond, mask, (32, 0), movable, entry)
    start = torch.randn_like(case.z)
    expected, loss = published.iterate(start, 1.0)
    published.close()
    settings = replace(PUBLISHED, transport_steps=1, intensify_steps=0, background="same_t")
    state = next(
        region_drag(
            FlowSampler(case.backbone, case.cond, settings.guidance, case.bank.hold()), start, speed.TIME, field, movable, settings,
            reference=case.z,
        )
    )
    torch.testing.assert_close(state.loss[0], loss, rtol=1e-4, atol=1e-8)
    torch.testing.assert_close(state.z, expected, rtol=1e-3, atol=1e-4)


def test_the_published_way_leaves_the_model_as_it_was():
    case = small_case()
    before = case.backbone.velocity(case.z, 0.5, case.cond)
    published = case.published()
    next(published)
    published.close()
    model = case.backbone.model
    assert not model.gradient_checkpointing
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.equal(case.backbone.velocity(case.z, 0.5, case.cond), before)


def test_flops_of_products_and_attention_are_counted_forward_and_backward():
    a, b = torch.randn(4, 8, requires_grad=True), torch.randn(8, 16)
    assert count_flops(lambda: a @ b) == 2 * 4 * 8 * 16
    assert count_flops(lambda: (a @ b).sum().backward()) == 2 * 2 * 4 * 8 * 16
    q = torch.randn(1, 2, 32, 16, requires_grad=True)
    forward = 4 * 2 * 32 * 32 * 16
    assert count_flops(lambda: F.scaled_dot_product_attention(q, q, q)) == forward
    assert count_flops(lambda: F.scaled_dot_product_attention(q, q, q).sum().backward()) == pytest.approx(3.5 * forward)


@pytest.mark.parametrize(("tokens", "derived"), [(1024, 12.5e12), (2304, 27.7e12), (4096, 53.5e12)])
def test_minimum_agrees_with_the_derived_table_of_flux(tokens, derived):
    # dragflow.md section 9.2, which counts a subject adapter too: attention to 1024 cached keys in each of 19 blocks.
    adapter = 19 * 4 * tokens * 1024 * 3072 * (1 + 2.5)
    assert minimum_flops(3072, tokens, 256, 19, 6, 16) + adapter == pytest.approx(derived, rel=0.03)


def test_our_iteration_is_within_a_tenth_of_the_minimum():
    measured = speed.measure(small_case(), repeats=1)
    assert 1.0 <= measured["flops_over_minimum"] < 1.1
    assert measured["flops_ratio"] > 1.5


def test_peak_memory_is_what_was_held_at_once():
    before = torch.zeros(1000)

    def work():
        x = before + 1  # 4000 bytes
        x = x * 2  # 8000 for a moment, then 4000
        y = x.view(10, 100)[2:4].clone()  # 800 more
        x.add_(1)
        del x
        return (y + 1).sum()

    assert peak_memory(work, CPU) == 8000


def test_peak_memory_sees_what_the_backward_pass_keeps():
    w = torch.randn(64, 64)

    def chain(length):
        x = torch.randn(64, 64).requires_grad_()
        y = x
        for _ in range(length):
            y = (y @ w).tanh()
        return torch.autograd.grad(y.sum(), x)

    kept = peak_memory(lambda: chain(8), CPU) - peak_memory(lambda: chain(4), CPU)
    assert kept == 4 * 64 * 64 * 4


def test_the_report_names_every_figure():
    reports = []
    report = speed.run(sizes=(64,), widths=(), device="cpu", repeats=1, progress=lambda *at: reports.append(at))
    assert reports == [(0, 1, "demo at 64 px")]
    (case,) = report["cases"]
    assert report["suite"] == "speed"
    assert report["time_ratio"] == case["time_ratio"] == case["seconds"]["published"] / case["seconds"]["ours"]
    assert case["memory_ratio"] == case["memory_bytes"]["published"] / case["memory_bytes"]["ours"] > 1.0
    assert case["flops"]["published"] > case["flops"]["ours"] >= case["flops_minimum"]
    assert case["image_tokens"] == 16


def test_impossible_cases_are_refused():
    with pytest.raises(ValueError, match="size 100"):
        speed.run(sizes=(256, 100))
    with pytest.raises(ValueError, match="width 200"):
        speed.run(widths=(200,))
