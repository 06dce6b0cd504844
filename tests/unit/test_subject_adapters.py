"""Subject adapters at work in a FLUX model: what they add, where, when, and that nothing else changes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dragfield.core.adapters.contract import Injection, Injections, Subject
from dragfield.core.adapters.resampler import Resampler
from dragfield.core.adapters.tokens import LearnedRms, TokenAttention, TokenLayout, rms
from dragfield.core.backbones.flux import DiffusersFlux
from dragfield.core.model.attention import KVBank
from dragfield.core.model.backbone import Conditioning
from dragfield.core.model.taps import Tap

diffusers = pytest.importorskip("diffusers")

HEADS, HEAD, CONTEXT, TOKENS = 2, 16, 10, 3
BLOCKS = [("double", 0), ("double", 1), ("single", 0), ("single", 1)]
PLAIN = TokenLayout()
COND = Conditioning(torch.randn(1, 4, 12, generator=torch.Generator().manual_seed(1)), torch.ones(1, 6))
Z = torch.randn(2, 4, 4, 6, generator=torch.Generator().manual_seed(2))


class Plain:
    """The least that is an adapter: tokens through a `TokenAttention`."""

    kind = "plain"
    heads, head_width = HEADS, HEAD

    def __init__(self, layout: TokenLayout = PLAIN, blocks: list = BLOCKS, depends_on_time: bool = False) -> None:
        torch.manual_seed(3)
        self.attention = TokenAttention(blocks, HEADS, HEAD, CONTEXT, layout).requires_grad_(False)
        self.place, self.text_rows, self.blocks = layout.place, layout.text_rows, frozenset(blocks)
        self.depends_on_time, self.asked = depends_on_time, []

    def keys_values(self, subject: Subject, t: float) -> dict:
        self.asked.append(t)
        return self.attention(subject.tensors["tokens"] * (1 + t * self.depends_on_time))

    def query(self, block: tuple, q: Tensor, scale: Tensor | None) -> Tensor:
        return self.attention.query(block, q, scale)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    made = diffusers.FluxTransformer2DModel(
        in_channels=16, attention_head_dim=HEAD, num_attention_heads=HEADS, joint_attention_dim=12, pooled_projection_dim=6,
        num_layers=2, num_single_layers=2, axes_dims_rope=(4, 6, 6), guidance_embeds=False,
    )  # fmt: skip
    for p in made.parameters():
        torch.nn.init.normal_(p, mean=float(p.ndim == 1), std=0.15)
    return made


def subject(seed: int = 4, kind: str = "plain", dtype: torch.dtype = torch.float32) -> Subject:
    return Subject(kind, {"tokens": torch.randn(1, TOKENS, CONTEXT, generator=torch.Generator().manual_seed(seed)).to(dtype)})


def injected(model, adapter: Plain, **settings) -> DiffusersFlux:
    return DiffusersFlux(model, subjects=Injections([Injection(adapter, subject(), **settings)]))


@torch.no_grad()
def velocity(backbone: DiffusersFlux, t: float = 0.5, z: Tensor = Z, **other) -> Tensor:
    return backbone.velocity(z, t, COND, **other)


def test_an_adapter_that_is_not_at_work_changes_no_bit(model) -> None:
    plain = velocity(DiffusersFlux(model))
    assert torch.equal(velocity(injected(model, Plain(), strength=0.0)), plain)
    assert torch.equal(velocity(injected(model, Plain(), start=0.4)), plain)
    assert torch.equal(velocity(injected(model, Plain(), end=0.6)), plain)
    assert not torch.equal(velocity(injected(model, Plain())), plain)
    assert torch.equal(velocity(injected(model, Plain()).with_subjects(None)), plain)


@pytest.mark.parametrize(
    "layout", [PLAIN, TokenLayout(query="learned", key="learned", bias=True), TokenLayout(key="rms", value="rms")]
)
def test_a_double_block_adds_the_answer_before_its_projection(model, layout: TokenLayout) -> None:
    """Against the block's equation written out, one row and head at a time."""
    adapter = Plain(layout, [("double", 0)])
    tokens = subject().tensors["tokens"][0]
    seen = {}
    to_out = model.transformer_blocks[0].attn.to_out[0]
    attn = model.transformer_blocks[0].attn
    hooks = [
        attn.to_q.register_forward_hook(lambda module, given, out: seen.update(q=out[0].unflatten(-1, (HEADS, HEAD)))),
        to_out.register_forward_pre_hook(lambda module, given: seen.setdefault("outs", []).append(given[0][0])),
    ]
    try:
        velocity(DiffusersFlux(model), z=Z[:1])
        velocity(injected(model, adapter, strength=0.7), z=Z[:1])
    finally:
        for hook in hooks:
            hook.remove()
    layer, answer = adapter.attention.layers[0], torch.zeros_like(seen["outs"][0])
    keys, values = (layer[name](tokens).unflatten(-1, (HEADS, HEAD)) for name in ("to_k_ip", "to_v_ip"))
    for row in range(answer.shape[0]):
        for head in range(HEADS):
            raw, k, v = seen["q"][row, head], keys[:, head], values[:, head]
            q = attn.norm_q(raw) if layout.query == "none" else layer["norm_ip_q"].scale * raw / (raw.square().mean().sqrt() + 1e-6)
            if layout.key == "learned":
                k = layer["norm_ip_k"].scale * k / (k.square().mean(-1, keepdim=True).sqrt() + 1e-6)
            if layout.key == "rms":
                k = k / (k.square().mean(-1, keepdim=True) + 1e-5).sqrt()
            if layout.value == "rms":
                v = v / (v.square().mean(-1, keepdim=True) + 1e-5).sqrt()
            weights = torch.softmax(k @ q / math.sqrt(HEAD), dim=0)
            answer[row, head * HEAD : (head + 1) * HEAD] = 0.7 * (weights @ v)
    torch.testing.assert_close(seen["outs"][1] - seen["outs"][0], answer, rtol=1e-3, atol=1e-5)


def test_an_answer_behind_the_block_goes_to_the_image_stream_alone(model) -> None:
    adapter = Plain(TokenLayout(place="block"), [("double", 1)])
    taps = (Tap("double", 1, "mlp_in"), Tap("double", 1, "out"))
    with torch.no_grad():
        plain = DiffusersFlux(model).features(Z, 0.5, COND, taps=taps)
        changed = injected(model, adapter).features(Z, 0.5, COND, taps=taps)
    assert torch.equal(plain[0], changed[0]) and not torch.equal(plain[1], changed[1])


def test_text_rows_of_single_blocks_ask_only_where_the_adapter_says_so(model) -> None:
    seen = []
    block = model.single_transformer_blocks[0]
    hook = block.proj_out.register_forward_pre_hook(lambda module, given: seen.append(given[0][:, :4]))
    try:
        velocity(DiffusersFlux(model))
        for text_rows in (False, True):
            velocity(injected(model, Plain(TokenLayout(text_rows=text_rows), [("single", 0)])))
    finally:
        hook.remove()
    assert torch.equal(seen[0], seen[1]) and not torch.equal(seen[0], seen[2])


def test_an_area_holds_the_answer_to_its_tokens(model) -> None:
    area = torch.zeros(8, 12)
    area[:, 6:] = 1.0
    taps = (Tap("double", 0, "mlp_in"),)
    with torch.no_grad():
        plain, whole, half = (
            b.features(Z, 0.5, COND, taps=taps)[0]
            for b in (DiffusersFlux(model), injected(model, Plain()), injected(model, Plain(), area=area))
        )
    columns = slice(0, 1), slice(2, 3)  # of 3; the middle one is half covered
    assert torch.equal(half[..., columns[0]], plain[..., columns[0]])
    torch.testing.assert_close(half[..., columns[1]], whole[..., columns[1]])


def test_several_adapters_add_up_and_strength_follows_time(model) -> None:
    adapter = Plain(blocks=[("double", 0)])
    taps = (Tap("double", 0, "mlp_in"),)

    def first(*injections: Injection, t: float = 0.5) -> Tensor:
        with torch.no_grad():
            return DiffusersFlux(model, subjects=Injections(injections)).features(Z, t, COND, taps=taps)[0]

    one = Injection(adapter, subject(), 0.4)
    torch.testing.assert_close(first(one, one), first(Injection(adapter, subject(), 0.8)))
    faded = Injection(adapter, subject(), 0.8, schedule=lambda t: t)
    torch.testing.assert_close(first(faded), first(one))


def test_keys_and_values_are_made_once_for_a_time(model) -> None:
    steady, changing = Plain(), Plain(depends_on_time=True)
    for adapter, made in ((steady, 1), (changing, 2)):
        backbone = injected(model, adapter)
        for t in (0.5, 0.5, 0.5, 0.3):
            velocity(backbone, t)
        assert len(adapter.asked) == made


def test_gradients_with_an_adapter_equal_finite_differences_and_need_no_blocks_kept() -> None:
    torch.manual_seed(0)
    model = diffusers.FluxTransformer2DModel(
        in_channels=16, attention_head_dim=HEAD, num_attention_heads=HEADS, joint_attention_dim=12, pooled_projection_dim=6,
        num_layers=2, num_single_layers=2, axes_dims_rope=(4, 6, 6), guidance_embeds=False,
    ).double()  # fmt: skip
    adapter = Plain(TokenLayout(query="learned", key="learned"))
    adapter.attention.double()
    injections = Injections([Injection(adapter, subject(dtype=torch.float64))])
    cond, taps = COND.to(dtype=torch.float64), (Tap("single", 0, "out"),)
    z = Z[:1, :, :2, :2].double()

    def loss(z: Tensor, keep: bool = True) -> Tensor:
        backbone = DiffusersFlux(model, checkpoint_blocks=not keep, subjects=injections)
        return backbone.features(z, 0.5, cond, taps=taps)[0].square().sum()

    leaf = z.clone().requires_grad_()
    (g,) = torch.autograd.grad(loss(leaf), leaf)
    (lean,) = torch.autograd.grad(loss(leaf, keep=False), leaf)
    assert torch.equal(g, lean)
    direction = torch.randn(z.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        measured = (loss(z + 1e-5 * direction) - loss(z - 1e-5 * direction)) / 2e-5
    torch.testing.assert_close((g * direction).sum(), measured, rtol=1e-6, atol=0)


def test_it_works_beside_remembered_keys_and_values(model) -> None:
    backbone = injected(model, Plain())
    bank = KVBank([("single", 1)])
    own = velocity(backbone, kv=bank.capture())
    assert torch.equal(velocity(backbone, kv=bank.hold()), own)


def test_what_does_not_belong_together_is_refused(model) -> None:
    with pytest.raises(ValueError, match="encoded for 'other', the adapter is 'plain'"):
        Injection(Plain(), subject(kind="other"))
    with pytest.raises(ValueError, match="1 >= start >= end >= 0"):
        Injection(Plain(), subject(), start=0.2, end=0.5)
    with pytest.raises(ValueError, match=r"give \[height, width\]"):
        Injection(Plain(), subject(), area=torch.ones(1, 4, 4))
    with pytest.raises(ValueError, match="made for a model with 2 heads of 16 in the double block 7, this one has none such"):
        injected(model, Plain(blocks=[("double", 7)]))


def test_norms_are_what_they_say() -> None:
    x = torch.tensor([[3.0, 4.0]])
    torch.testing.assert_close(rms(x), x / math.sqrt(12.5), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(LearnedRms(2)(x), x / math.sqrt(12.5), rtol=1e-5, atol=1e-6)


def test_a_resampler_reads_any_number_of_features_and_time_only_if_it_is_timed() -> None:
    torch.manual_seed(0)
    plain, timed = (Resampler(6, 8, 5, queries=3, depth=2, head=4, timed=t) for t in (False, True))
    for n in (1, 7):
        assert plain(torch.randn(2, n, 6)).shape == (2, 3, 5)
    x = torch.randn(1, 4, 6)
    early, late = (timed(x, torch.tensor([t])) for t in (1.0, 900.0))
    assert not torch.allclose(early, late)
    with pytest.raises(ValueError, match="give t"):
        timed(x)


def test_a_resampler_layer_is_the_published_equation() -> None:
    """q += W_o softmax(QK/sqrt d)V with K, V from features and queries; q += W2 gelu(W1 LN(q)); written out for one head."""
    torch.manual_seed(0)
    net = Resampler(6, 4, 5, queries=2, depth=1, head=4)
    x = torch.randn(1, 3, 6)
    attention, mlp = net.layers[0]
    y, q = net.proj_in(x)[0], net.latents[0]
    given, asking = attention.norm1(y), attention.norm2(q)
    both = torch.cat([given, asking])
    keys, values = both @ attention.to_kv.weight[:4].T, both @ attention.to_kv.weight[4:].T
    weights = torch.softmax((asking @ attention.to_q.weight.T) @ keys.T / 2.0, dim=-1)
    q = q + (weights @ values) @ attention.to_out.weight.T
    q = q + torch.nn.functional.gelu(mlp[0](q) @ mlp[1].weight.T) @ mlp[3].weight.T
    torch.testing.assert_close(net(x)[0], net.norm_out(net.proj_out(q)))
