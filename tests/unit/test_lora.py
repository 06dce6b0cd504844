import pytest
import torch

from dragfield.core.backbones.flux import DiffusersFlux
from dragfield.core.backbones.unet import DiffusersUNet
from dragfield.core.model.backbone import Conditioning
from dragfield.core.training.lora import Lora, LoraSettings, applied, fresh, from_state, to_state, train_lora

diffusers = pytest.importorskip("diffusers")

FEW = LoraSettings(rank=2, steps=3, batch=2, learning_rate=1e-2)
Z0 = torch.randn(1, 4, 4, 6, generator=torch.Generator().manual_seed(1))
COND = Conditioning(torch.randn(1, 3, 6, generator=torch.Generator().manual_seed(2)), torch.ones(1, 5))


def make_unet(dtype=torch.float32):
    torch.manual_seed(0)
    return diffusers.UNet2DConditionModel(
        block_out_channels=(8, 8), down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), norm_num_groups=4, layers_per_block=1,
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), attention_head_dim=2, cross_attention_dim=6,
    ).to(dtype)  # fmt: skip


@pytest.fixture(scope="module")
def unet():
    return make_unet()


@pytest.fixture(scope="module")
def taught(unet):
    return train_lora(DiffusersUNet(unet), unet, Z0, COND, FEW)


def some_lora(unet):
    """A LoRA whose both halves are far from zero."""
    layers = fresh(unet, FEW).layers
    return Lora({name: (down, torch.full_like(up, 0.1)) for name, (down, up) in layers.items()})


def test_it_teaches_query_key_value_and_output_of_every_attention(unet):
    lora = fresh(unet, FEW)
    attentions = [name for name, module in unet.named_modules() if name.endswith(("attn1", "attn2"))]
    assert set(lora.layers) == {f"{name}.{part}" for name in attentions for part in ("to_q", "to_k", "to_v", "to_out.0")}
    assert lora.rank == 2


def test_sd15_has_as_many_parameters_as_published():
    with torch.device("meta"):
        unet = diffusers.UNet2DConditionModel(
            down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",), cross_attention_dim=768, attention_head_dim=8
        )
        lora = fresh(unet, LoraSettings())
    assert len(lora.layers) == 32 * 4
    assert sum(x.numel() for x in lora.parameters) == 3_188_736


def test_a_fresh_lora_changes_nothing(unet):
    backbone = DiffusersUNet(unet)
    before = backbone.noise(Z0, 100, COND)
    with applied(unet, fresh(unet, FEW)):
        assert torch.equal(backbone.noise(Z0, 100, COND), before)


def test_applied_equals_merged_weights_and_leaves_no_trace(unet):
    lora = some_lora(unet)
    merged = make_unet()
    with torch.no_grad():
        for name, (down, up) in lora.layers.items():
            merged.get_submodule(name).weight += 0.5 * up @ down
    backbone = DiffusersUNet(unet)
    before = backbone.noise(Z0, 100, COND)
    with applied(unet, lora, 0.5):
        torch.testing.assert_close(backbone.noise(Z0, 100, COND), DiffusersUNet(merged).noise(Z0, 100, COND), atol=1e-5, rtol=1e-5)
    assert torch.equal(backbone.noise(Z0, 100, COND), before)
    assert not any(module._forward_hooks for module in unet.modules())


def test_gradients_reach_the_latent_through_a_lora(unet):
    z = Z0.clone().requires_grad_(True)
    with applied(unet, some_lora(unet)):
        DiffusersUNet(unet).noise(z, 100, COND).square().sum().backward()
    assert z.grad.abs().sum() > 0


def test_training_lowers_the_error_on_its_picture_and_never_touches_the_model():
    unet = make_unet()
    backbone = DiffusersUNet(unet)
    before = {name: p.clone() for name, p in unet.named_parameters()}
    generator = torch.Generator().manual_seed(9)
    t, noise = torch.randint(1000, (64,), generator=generator), torch.randn(64, 4, 4, 6, generator=generator)
    kept = backbone.schedule.of(t, Z0)
    noisy = kept.sqrt() * Z0 + (1 - kept).sqrt() * noise

    def error():
        with torch.no_grad():
            return float((backbone.noise(noisy, t, COND) - noise).square().mean())

    untaught, losses = error(), []
    settings = LoraSettings(rank=4, steps=30, batch=4, learning_rate=5e-2)
    lora = train_lora(backbone, unet, Z0, COND, settings, report=lambda done, total, loss: losses.append(loss))
    with applied(unet, lora):
        assert error() < 0.97 * untaught
    assert len(losses) == 30
    assert all(torch.equal(p, before[name]) for name, p in unet.named_parameters())
    assert not any(module._forward_hooks for module in unet.modules())


def test_training_is_the_same_every_time(unet, taught):
    again = train_lora(DiffusersUNet(unet), unet, Z0, COND, FEW)
    assert all(torch.equal(a, b) for a, b in zip(taught.parameters, again.parameters, strict=True))
    assert not any(x.requires_grad for x in taught.parameters)


def test_a_stopped_training_gives_what_it_has_learnt(unet):
    done = []
    lora = train_lora(
        DiffusersUNet(unet), unet, Z0, COND, FEW, report=lambda *row: done.append(row), should_stop=lambda: len(done) == 1
    )  # fmt: skip
    assert len(done) == 1 and any(bool(up.any()) for _, up in lora.layers.values())


def test_half_precision_learns_nearly_the_same(taught):
    unet = make_unet(torch.float16)
    lora = train_lora(DiffusersUNet(unet), unet, Z0, COND, FEW)
    ups, exact = (torch.cat([up.flatten() for _, up in some.layers.values()]) for some in (lora, taught))
    assert torch.nn.functional.cosine_similarity(ups, exact, dim=0) > 0.9


def test_square_views_are_drawn_once_from_a_picture_that_is_not_square(unet):
    sizes = []
    handle = unet.conv_in.register_forward_pre_hook(lambda _, args: sizes.append(tuple(args[0].shape)))
    train_lora(DiffusersUNet(unet), unet, Z0, COND, LoraSettings(rank=1, steps=1, batch=3, whole=False))
    handle.remove()
    assert sizes == [(3, 4, 4, 4)]


def test_a_transformer_learns_its_velocity():
    torch.manual_seed(0)
    model = diffusers.FluxTransformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=8, num_attention_heads=2, joint_attention_dim=6,
        pooled_projection_dim=5, guidance_embeds=False, axes_dims_rope=(2, 2, 4),
    )  # fmt: skip
    lora = train_lora(DiffusersFlux(model), model, Z0, COND, FEW)
    assert "single_transformer_blocks.0.attn.to_q" in lora.layers
    assert "transformer.transformer_blocks.0.attn.to_out.0.lora_A.weight" in to_state(lora, "transformer")


@pytest.mark.parametrize("prefix", ["unet", "transformer"])
def test_a_written_lora_reads_back_the_same_but_for_half_precision(unet, taught, prefix):
    back = from_state(to_state(taught, prefix), unet, prefix)
    assert back.layers.keys() == taught.layers.keys()
    for a, b in zip(back.parameters, taught.parameters, strict=True):
        torch.testing.assert_close(a, b.half().float())


def test_alpha_scales_what_is_read(unet, taught):
    state = to_state(taught)
    key = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    state[f"{key}.alpha"] = torch.tensor(1.0)
    name = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    torch.testing.assert_close(from_state(state, unet).layers[name][1], taught.layers[name][1].half().float() / 2)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda u, lora: LoraSettings(rank=0), "rank = 0"),
        (lambda u, lora: LoraSettings(learning_rate=float("nan")), "learning_rate = nan"),
        (lambda u, lora: fresh(u, LoraSettings(targets=("to_x",))), "ends in to_x"),
        (lambda u, lora: applied(u, Lora({"gone.to_q": next(iter(lora.layers.values()))})).__enter__(), "gone.to_q"),
        (lambda u, lora: from_state({**to_state(lora), "lora_te_x.lora_up.weight": torch.ones(1)}, u), "lora_te_x"),
        (lambda u, lora: to_state(lora, "text"), "'text' is unknown"),
        (lambda u, lora: train_lora(DiffusersUNet(u), u, Z0[0], COND, FEW), r"got \[4, 4, 6\]"),
    ],
)
def test_what_cannot_be_is_refused_by_name(unet, taught, call, named):
    with pytest.raises(ValueError, match=named):
        call(unet, taught)
