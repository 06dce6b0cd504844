import copy

import pytest
import torch

from dragfield.core.backbones.flux import DiffusersFlux, pack, unpack
from dragfield.core.model.attention import KVBank
from dragfield.core.model.backbone import Conditioning, FlowBackbone
from dragfield.core.model.blocks import choose_blocks
from dragfield.core.model.taps import Tap, default_taps

diffusers = pytest.importorskip("diffusers")

SHAPES = {
    "guided": dict(guidance_embeds=True, num_layers=3, num_single_layers=2, axes_dims_rope=(4, 6, 6)),
    "unguided": dict(guidance_embeds=False, num_layers=1, num_single_layers=3, axes_dims_rope=(2, 8, 6)),
    "two axes": dict(guidance_embeds=True, num_layers=2, num_single_layers=1, axes_dims_rope=(8, 8)),
}


@pytest.fixture(autouse=True)
def one_thread():
    """Bits can be compared on one thread only: several may split the same product differently where its rows lie otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_model(shape="guided", dtype=torch.float32, **overrides):
    torch.manual_seed(0)
    config = dict(in_channels=16, attention_head_dim=16, num_attention_heads=2, joint_attention_dim=12)
    model = diffusers.FluxTransformer2DModel(**{**config, "pooled_projection_dim": 6, **SHAPES[shape], **overrides})
    # A fresh model's output layer is far from trained scale; spread parameters so that no path is near zero.
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.15)
    return model.to(dtype)


def make_inputs(batch=2, size=(6, 8), dtype=torch.float32, text_tokens=5):
    g = torch.Generator().manual_seed(1)
    z = torch.randn(batch, 4, *size, generator=g, dtype=torch.float64).to(dtype)
    txt = torch.randn(1, text_tokens, 12, generator=g, dtype=torch.float64).to(dtype)
    return z, Conditioning(txt, torch.randn(1, 6, generator=g, dtype=torch.float64).to(dtype))


def own_forward(model, z, t, cond, guidance):
    batch, rows, columns = z.shape[0], z.shape[2] // 2, z.shape[3] // 2
    axes = len(model.pos_embed.axes_dim)
    ids = torch.zeros(rows, columns, axes)
    ids[..., -2] = torch.arange(rows)[:, None]
    ids[..., -1] = torch.arange(columns)[None]
    out = model(
        hidden_states=pack(z),
        encoder_hidden_states=cond.txt.expand(batch, -1, -1),
        pooled_projections=cond.pooled.expand(batch, -1),
        timestep=torch.full((batch,), t),
        guidance=torch.full((batch,), guidance) if model.config.guidance_embeds else None,
        img_ids=ids.reshape(-1, axes),
        txt_ids=torch.zeros(cond.txt.shape[1], axes),
    ).sample
    return unpack(out, (z.shape[2], z.shape[3]))


def test_it_is_a_flow_backbone():
    backbone = DiffusersFlux(make_model())
    assert isinstance(backbone, FlowBackbone)
    assert (backbone.latent_channels, backbone.patch, backbone.width) == (4, 2, 32)
    assert (backbone.double_blocks, backbone.single_blocks, backbone.guidance_distilled) == (3, 2, True)
    assert (backbone.device, backbone.dtype) == (torch.device("cpu"), torch.float32)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [(2, 2), (6, 8), (10, 2)])
def test_velocity_is_the_models_own_bit_for_bit(shape, size):
    model = make_model(shape)
    z, cond = make_inputs(size=size)
    with torch.no_grad():
        expected = own_forward(model, z, 0.35, cond, 2.5)
        assert torch.equal(DiffusersFlux(model).velocity(z, 0.35, cond, guidance=2.5), expected)


def test_velocity_in_bfloat16_is_the_models_own_at_times_bfloat16_can_hold():
    model = make_model(dtype=torch.bfloat16)
    z, cond = make_inputs(dtype=torch.bfloat16)
    with torch.no_grad():
        v = DiffusersFlux(model).velocity(z, 0.5, cond, guidance=2.0)
        assert torch.equal(v, own_forward(model, z, 0.5, cond, 2.0).float())
    assert v.dtype == torch.float32


def test_bfloat16_does_not_round_the_time():
    backbone = DiffusersFlux(make_model(dtype=torch.bfloat16))
    z, cond = make_inputs(dtype=torch.bfloat16)
    assert torch.tensor(0.856).bfloat16() == torch.tensor(0.855).bfloat16()
    assert not torch.equal(backbone.velocity(z, 0.856, cond), backbone.velocity(z, 0.855, cond))


def test_guidance_reaches_only_distilled_models():
    z, cond = make_inputs()
    for shape, expected in (("guided", False), ("unguided", True)):
        backbone = DiffusersFlux(make_model(shape))
        same = torch.equal(backbone.velocity(z, 0.5, cond, guidance=1), backbone.velocity(z, 0.5, cond, guidance=4))
        assert same is expected


def test_guidance_per_sample_is_guidance_of_each():
    backbone = DiffusersFlux(make_model())
    z, cond = make_inputs()
    both = backbone.velocity(z, 0.5, cond, guidance=torch.tensor([1.0, 3.5]))
    torch.testing.assert_close(both[:1], backbone.velocity(z[:1], 0.5, cond, guidance=1.0), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(both[1:], backbone.velocity(z[1:], 0.5, cond, guidance=3.5), atol=1e-5, rtol=1e-5)


def test_packing_orders_channels_outermost_then_cell_row_then_column():
    z = torch.arange(2 * 4 * 4).reshape(1, 2, 4, 4).float()
    token = pack(z)[0, 1]  # second token: rows 0-1, columns 2-3
    assert token.tolist() == [2, 3, 6, 7, 18, 19, 22, 23]
    assert torch.equal(unpack(pack(z), (4, 4)), z)


@pytest.mark.parametrize("kind", ["double", "single"])
@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("point", ["attn_in", "mlp_in", "out"])
def test_early_exit_gives_the_tap_of_the_whole_forward(kind, index, point):
    backbone = DiffusersFlux(make_model())
    z, cond = make_inputs()
    tap, behind = Tap(kind, index, point), Tap("single", -1, "out")
    (early,) = backbone.features(z, 0.6, cond, taps=[tap], guidance=3.5)
    whole, _ = backbone.features(z, 0.6, cond, taps=[tap, behind], guidance=3.5)
    assert early.shape == (2, 32, 3, 4)
    torch.testing.assert_close(early, whole, atol=1e-5, rtol=1e-5)


def test_taps_are_what_the_models_own_modules_see():
    model = make_model()
    z, cond = make_inputs()
    seen = {}
    block = model.transformer_blocks[1]
    hooks = [
        block.norm1.register_forward_hook(lambda m, args, out: seen.update(attn_in=out[0])),
        block.ff.register_forward_hook(lambda m, args, out: seen.update(mlp_in=args[0])),
        block.register_forward_hook(lambda m, args, out: seen.update(out=out[1])),
    ]
    own_forward(model, z, 0.6, cond, 3.5)
    for hook in hooks:
        hook.remove()
    taps = [Tap("double", 1, "out"), Tap("double", 1, "attn_in"), Tap("double", 1, "mlp_in"), Tap("double", 2)]
    found = DiffusersFlux(model).features(z, 0.6, cond, taps=taps, guidance=3.5)
    for tap, feature in zip(taps[:3], found, strict=False):
        assert torch.equal(feature.flatten(2).transpose(1, 2), seen[tap.point])


@pytest.mark.parametrize("end", [Tap("double", 1, "attn_in"), Tap("double", 1, "mlp_in"), Tap("double", 1), Tap("single", 0)])
def test_nothing_behind_the_last_tap_is_run(end):
    model = make_model()
    z, cond = make_inputs()
    ran = []
    for name, module in model.named_modules():
        module.register_forward_hook(lambda m, args, out, name=name: ran.append(name))
    DiffusersFlux(model).features(z, 0.6, cond, taps=[end])
    last = "single_transformer_blocks.0" if end.kind == "single" else "transformer_blocks.1"
    inside = {name.removeprefix(last + ".") for name in ran if name.startswith(last + ".")}
    behind = ("single_transformer_blocks.1.", "norm_out", "proj_out")
    if end.kind == "double":
        behind += ("transformer_blocks.2.", "single_transformer_blocks.0.")
    assert not [name for name in ran if name.startswith(behind)]
    unread = {"attn.to_add_out", "attn.add_q_proj", "ff_context", "norm2_context"}
    assert not inside & unread
    if end.point == "attn_in":
        assert not {name for name in inside if not name.startswith("norm1")}
    if end.point == "mlp_in":
        assert "ff" not in inside and "attn.to_out.0" in inside


@pytest.mark.parametrize("injected", [False, True])
def test_gradients_equal_finite_differences(injected):
    backbone = DiffusersFlux(make_model(dtype=torch.float64))
    z, cond = make_inputs(batch=1, size=(4, 4), dtype=torch.float64)
    kv = None
    if injected:
        bank = KVBank(choose_blocks("all", 3, 2))
        backbone.velocity(z + 0.3, 0.5, cond, kv=bank.capture())
        kv = bank.hold()
    taps = [*default_taps(3), Tap("single", 1, "out")]

    def loss(latent):
        found = backbone.features(latent, 0.6, cond, taps=taps, guidance=3.5, kv=kv)
        return sum((f.sin() * (i + 1)).sum() for i, f in enumerate(found))

    assert torch.autograd.gradcheck(loss, z.clone().requires_grad_(), eps=1e-6, atol=1e-6, rtol=1e-6)


def test_velocity_gradients_equal_finite_differences():
    backbone = DiffusersFlux(make_model(dtype=torch.float64))
    z, cond = make_inputs(batch=1, size=(2, 2), dtype=torch.float64)
    check = torch.autograd.gradcheck(
        lambda latent: backbone.velocity(latent, 0.6, cond), z.clone().requires_grad_(), eps=1e-6, atol=1e-6, rtol=1e-6
    )
    assert check


def test_checkpointing_changes_no_value_and_no_gradient():
    model = make_model()
    z, cond = make_inputs()
    grads, values = [], []
    for checkpoint_blocks in (False, True):
        backbone = DiffusersFlux(model, checkpoint_blocks=checkpoint_blocks)
        bank = KVBank(choose_blocks("non_ridge", 3, 2))
        with torch.no_grad():
            backbone.velocity(z * 0.9, 0.5, cond, kv=bank.capture())
        leaf = z.clone().requires_grad_()
        found = backbone.features(leaf, 0.6, cond, taps=default_taps(3), kv=bank.hold())
        values.append(torch.stack([f.detach() for f in found]))
        grads.append(torch.autograd.grad(sum(f.square().sum() for f in found), leaf)[0])
    assert torch.equal(values[0], values[1])
    assert torch.equal(grads[0], grads[1])


def test_features_repeat_bit_for_bit_with_and_without_gradients():
    backbone = DiffusersFlux(make_model())
    z, cond = make_inputs()
    with torch.no_grad():
        plain = backbone.features(z, 0.6, cond, taps=default_taps(3))
    again = backbone.features(z.clone().requires_grad_(), 0.6, cond, taps=default_taps(3))
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))


def test_only_the_latent_gets_a_gradient_and_the_model_stays_as_it_was():
    model = make_model()
    before = copy.deepcopy(model.state_dict())
    z, cond = make_inputs()
    with torch.no_grad():
        expected = own_forward(model, z, 0.35, cond, 2.5)
    backbone = DiffusersFlux(model)
    leaf = z.clone().requires_grad_()
    sum(f.sum() for f in backbone.features(leaf, 0.6, cond, taps=default_taps(3))).backward()
    assert leaf.grad is not None and leaf.grad.abs().max() > 0
    assert all(p.grad is None for p in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    with torch.no_grad():
        assert torch.equal(own_forward(model, z, 0.35, cond, 2.5), expected)


def test_position_tables_are_made_once_per_size_and_few_are_kept():
    model = make_model()
    backbone = DiffusersFlux(model)
    made = []
    model.pos_embed.register_forward_hook(lambda *_: made.append(1))
    z, cond = make_inputs()
    for _ in range(3):
        backbone.velocity(z, 0.5, cond)
    assert len(made) == 1
    for side in range(2, 30, 2):
        z, cond = make_inputs(size=(side, 2))
        backbone.features(z, 0.5, cond, taps=[Tap("double", 0, "attn_in")])
    assert len(backbone._ropes) <= 8


@pytest.mark.parametrize(
    ("z", "complaint"),
    [
        (torch.zeros(1, 3, 4, 4), r"takes latents \[B, 4, h, w\], got \[1, 3, 4, 4\]"),
        (torch.zeros(4, 4, 4), r"got \[4, 4, 4\]"),
    ],
)
def test_latents_that_do_not_fit_are_refused(z, complaint):
    with pytest.raises(ValueError, match=complaint):
        DiffusersFlux(make_model()).velocity(z, 0.5, make_inputs()[1])


def test_a_latent_that_does_not_divide_into_tokens_is_padded_by_its_own_first_cells():
    backbone, (z, cond) = DiffusersFlux(make_model()), make_inputs()
    odd = z[..., :3, :]
    padded = torch.cat((odd, odd[..., :1, :]), dim=-2)
    tap = Tap("double", 0, "out")
    with torch.no_grad():
        assert torch.equal(backbone.velocity(odd, 0.5, cond), backbone.velocity(padded, 0.5, cond)[..., :3, :])
        of_odd, of_padded = (backbone.features(latent, 0.5, cond, taps=[tap])[0] for latent in (odd, padded))
    assert torch.equal(of_odd, of_padded)


def test_a_missing_pooled_embedding_is_refused():
    z, cond = make_inputs()
    with pytest.raises(ValueError, match="pooled text embedding"):
        DiffusersFlux(make_model()).velocity(z, 0.5, Conditioning(cond.txt))


def test_models_that_take_more_than_they_predict_are_refused():
    with pytest.raises(ValueError, match="takes 32 channels per token and gives 16"):
        DiffusersFlux(make_model(in_channels=32, out_channels=16))


def test_fused_projections_are_refused():
    model = make_model()
    model.transformer_blocks[0].attn.fused_projections = True
    with pytest.raises(ValueError, match="unfuse_qkv_projections"):
        DiffusersFlux(model)
