import copy

import pytest
import torch

from dragfield.core.backbones.unet import DiffusersUNet
from dragfield.core.model.attention import KVBank
from dragfield.core.model.backbone import Conditioning, NoiseBackbone
from dragfield.core.model.mutual_attention import mutual_attention, mutual_blocks
from dragfield.core.model.noise_schedule import scaled_linear
from dragfield.core.model.unet_taps import UNetTap, default_unet_taps, readout_taps
from dragfield.core.sampling.ddim import PICTURE

diffusers = pytest.importorskip("diffusers")

PLAIN_DOWN, CROSS_DOWN, PLAIN_UP, CROSS_UP = "DownBlock2D", "CrossAttnDownBlock2D", "UpBlock2D", "CrossAttnUpBlock2D"
SHAPES = {
    "sd15": dict(
        block_out_channels=(8, 8, 16, 16), down_block_types=(CROSS_DOWN,) * 3 + (PLAIN_DOWN,), up_block_types=(PLAIN_UP,) + (CROSS_UP,) * 3,
        layers_per_block=2, attention_head_dim=2,
    ),
    "sdxl": dict(
        block_out_channels=(8, 8, 16), down_block_types=(PLAIN_DOWN, CROSS_DOWN, CROSS_DOWN), up_block_types=(CROSS_UP, CROSS_UP, PLAIN_UP),
        layers_per_block=2, attention_head_dim=(1, 2, 2), transformer_layers_per_block=(1, 1, 2), use_linear_projection=True,
        addition_embed_type="text_time", addition_time_embed_dim=4, projection_class_embeddings_input_dim=6 * 4 + 5,
    ),
    "small": dict(
        block_out_channels=(8, 8), down_block_types=(PLAIN_DOWN, CROSS_DOWN), up_block_types=(CROSS_UP, PLAIN_UP), layers_per_block=1,
        attention_head_dim=2,
    ),
}  # fmt: skip


def make_model(shape="small", dtype=torch.float32, **overrides):
    torch.manual_seed(0)
    config = dict(in_channels=4, out_channels=4, cross_attention_dim=6, norm_num_groups=4)
    return diffusers.UNet2DConditionModel(**{**config, **SHAPES[shape], **overrides}).to(dtype)


def make_inputs(batch=2, size=(8, 8), dtype=torch.float32):
    g = torch.Generator().manual_seed(1)
    z = torch.randn(batch, 4, *size, generator=g, dtype=torch.float64).to(dtype)
    txt = torch.randn(1, 3, 6, generator=g, dtype=torch.float64).to(dtype)
    return z, Conditioning(txt, torch.randn(1, 5, generator=g, dtype=torch.float64).to(dtype))


def own_forward(model, z, t, cond):
    batch = z.shape[0]
    sizes = torch.tensor([[8 * z.shape[2], 8 * z.shape[3], 0, 0, 8 * z.shape[2], 8 * z.shape[3]]]).expand(batch, -1)
    extra = {"text_embeds": cond.pooled.expand(batch, -1), "time_ids": sizes}
    return model(z, t, cond.txt.expand(batch, -1, -1), added_cond_kwargs=extra).sample


def test_it_is_a_noise_backbone():
    backbone = DiffusersUNet(make_model("sd15"))
    assert isinstance(backbone, NoiseBackbone)
    assert (backbone.latent_channels, backbone.up_resnets, backbone.prediction) == (4, (3, 3, 3, 3), "epsilon")
    assert (backbone.attention_blocks, backbone.decoder_attention, backbone.time_embed_dim) == (16, 7, 32)
    assert (backbone.device, backbone.dtype) == (torch.device("cpu"), torch.float32)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [(8, 8), (5, 7), (1, 3)])
def test_noise_is_the_models_own_bit_for_bit_at_any_size(shape, size):
    model = make_model(shape)
    z, cond = make_inputs(size=size)
    with torch.no_grad():
        assert torch.equal(DiffusersUNet(model).noise(z, 321, cond), own_forward(model, z, 321, cond))


def test_timesteps_per_sample_are_those_of_each():
    backbone = DiffusersUNet(make_model())
    z, cond = make_inputs()
    both = backbone.noise(z, torch.tensor([10, 900]), cond)
    torch.testing.assert_close(both[:1], backbone.noise(z[:1], 10, cond))
    torch.testing.assert_close(both[1:], backbone.noise(z[1:], 900, cond))


@pytest.mark.parametrize("level", [PICTURE, 301, 321])
def test_velocity_becomes_noise_at_the_level_the_latent_really_has(level):
    model, schedule = make_model(), scaled_linear()
    z, cond = make_inputs()
    v = own_forward(model, z, 321, cond)
    a = schedule.at(level)
    eps = DiffusersUNet(model, prediction="v_prediction").noise(z, 321, cond, level=level)
    torch.testing.assert_close(eps, a**0.5 * v + (1 - a) ** 0.5 * z)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_tap_is_what_a_forward_hook_sees_and_an_early_exit_gives_the_same(shape):
    model = make_model(shape)
    backbone = DiffusersUNet(model)
    z, cond = make_inputs(batch=1, size=(5, 8))
    resnets = [resnet for block in model.up_blocks for resnet in block.resnets]
    taps = [UNetTap("mid"), *readout_taps(backbone.up_resnets), *(UNetTap("up", k) for k in range(len(model.up_blocks)))]
    seen = {}
    modules = [model.mid_block, *(resnet.conv2 for resnet in resnets), *model.up_blocks]
    for tap, module in zip(taps, modules, strict=True):
        module.register_forward_hook(lambda _, __, out, tap=tap: seen.__setitem__(tap, out))
    with torch.no_grad():
        own_forward(model, z, 100, cond)
        expected = [seen[tap] for tap in taps]
        for tap, found in zip(taps, expected, strict=True):
            assert torch.equal(backbone.features(z, 100, cond, taps=[tap])[0], found)
            assert found.shape[1] == backbone.channels(tap)
        eps, all_of_them = backbone.noise_and_features(z, 100, cond, taps=taps)
    assert torch.equal(eps, own_forward(model, z, 100, cond))
    assert all(torch.equal(a, b) for a, b in zip(all_of_them, expected, strict=True))


def test_the_default_tap_of_sd15_lies_at_the_latents_full_size():
    backbone = DiffusersUNet(make_model("sd15"))
    z, cond = make_inputs(batch=1, size=(9, 12))
    (found,) = backbone.features(z, 741, cond, taps=default_unet_taps(backbone.up_resnets))
    assert found.shape == (1, 8, 9, 12)


def test_nothing_behind_the_last_tap_is_computed():
    model = make_model("sd15")
    backbone = DiffusersUNet(model)
    ran = []
    watched = {"up 2": model.up_blocks[2], "up 3": model.up_blocks[3], "shortcut": model.up_blocks[1].resnets[0].conv_shortcut}
    for name, module in watched.items():
        module.register_forward_pre_hook(lambda *_, name=name: ran.append(name))
    z, cond = make_inputs(batch=1)
    backbone.features(z, 5, cond, taps=[UNetTap("up", 2), UNetTap("up", 0)])
    assert ran == ["shortcut", "up 2"]
    ran.clear()
    backbone.features(z, 5, cond, taps=[UNetTap("up_resnet", 3)])
    assert ran == []


@pytest.mark.parametrize("shape", ["small", "sdxl"])
def test_gradients_equal_finite_differences(shape):
    backbone = DiffusersUNet(make_model(shape, torch.float64))
    z, cond = make_inputs(batch=1, size=(3, 4), dtype=torch.float64)
    weight = torch.randn(1, 4, 3, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    taps = default_unet_taps(backbone.up_resnets)

    def loss(x, early):
        if early:
            return backbone.features(x, 400, cond, taps=taps)[0].square().sum()
        eps, (found,) = backbone.noise_and_features(x, 400, cond, taps=taps)
        return (eps * weight).sum() + found.square().sum()

    for early in (True, False):
        x = z.clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(loss(x, early), x)
        step = torch.randn(z.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * 1e-5
        difference = (loss(z + step, early) - loss(z - step, early)) / 2
        torch.testing.assert_close((gradient * step).sum(), difference, rtol=1e-6, atol=0)


def test_only_the_latent_gets_a_gradient_and_the_model_keeps_no_trace():
    model = make_model("sd15")
    backbone = DiffusersUNet(model)
    z, cond = make_inputs()
    before, processors = own_forward(model, z, 50, cond), model.attn_processors
    bank = KVBank(mutual_blocks(backbone))
    backbone.noise(z, 50, cond, kv=bank.capture())
    x = z.clone().requires_grad_(True)
    backbone.features(x, 50, cond, taps=[UNetTap("up", 1)], kv=bank.hold())[0].sum().backward()
    assert x.grad is not None and all(p.grad is None for p in model.parameters())
    assert model.attn_processors == processors
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.equal(own_forward(model, z, 50, cond), before)


def test_an_error_inside_the_model_leaves_no_trace():
    model = make_model()
    backbone = DiffusersUNet(model)
    z, cond = make_inputs()
    handle = model.up_blocks[0].register_forward_pre_hook(lambda *_: 1 / 0)
    processors = model.attn_processors
    with pytest.raises(ZeroDivisionError):
        backbone.noise_and_features(z, 5, cond, taps=[UNetTap("mid")], kv=mutual_attention([("self", 0)]))
    handle.remove()
    assert model.attn_processors == processors
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("shape", SHAPES)
def test_asking_a_session_that_changes_nothing_gives_the_same_bits(shape):
    backbone = DiffusersUNet(make_model(shape))
    z, cond = make_inputs()
    blocks = [("self", i) for i in range(backbone.attention_blocks)]
    bank = KVBank(blocks)
    with torch.no_grad():
        plain = backbone.noise(z, 200, cond)
        assert torch.equal(backbone.noise(z, 200, cond, kv=bank.capture()), plain)
        assert torch.equal(backbone.noise(z, 200, cond, kv=bank.hold()), plain)
    assert set(bank.entries[0].blocks) == set(blocks) and bank.entries[0].t == 200.0


def test_the_published_blocks_of_sd15_are_10_to_15():
    assert mutual_blocks(DiffusersUNet(make_model("sd15"))) == {("self", i) for i in range(10, 16)}


def test_the_original_of_a_mutual_pair_stays_as_it_is_and_the_edited_changes():
    backbone = DiffusersUNet(make_model("sd15"))
    z, cond = make_inputs()
    with torch.no_grad():
        alone = backbone.noise(z, 200, cond)
        mutual = backbone.noise(z, 200, cond, kv=mutual_attention(mutual_blocks(backbone)))
    assert torch.equal(mutual[0], alone[0])
    assert (mutual[1] - alone[1]).abs().max() > 1e-4


def test_a_remembered_original_serves_the_edited_alone_as_it_does_in_a_pair():
    backbone = DiffusersUNet(make_model("sd15"))
    (z, cond), blocks = make_inputs(), mutual_blocks(backbone)
    bank = KVBank(blocks)
    with torch.no_grad():
        pair = backbone.noise(z, 200, cond, kv=mutual_attention(blocks))
        for t in (220, 200, 180):
            backbone.noise(z[:1], t, cond, kv=bank.capture())
        alone = backbone.noise(z[1:], 200, cond, kv=bank.replay("matched"))
    torch.testing.assert_close(alone, pair[1:], atol=1e-5, rtol=1e-5)


def test_the_time_embedding_is_the_models_own():
    model = make_model()
    seen = []
    model.time_embedding.register_forward_hook(lambda _, __, out: seen.append(out))
    backbone = DiffusersUNet(model)
    z, cond = make_inputs(batch=1)
    backbone.noise(z, 741, cond)
    assert torch.equal(backbone.time_embedding(741), seen[0])
    assert backbone.time_embedding(torch.tensor([1, 741]))[1:].allclose(seen[0], atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_gives_float32_noise_and_features_in_its_own_dtype(dtype):
    backbone = DiffusersUNet(make_model(dtype=dtype))
    z, cond = make_inputs()
    eps, (found,) = backbone.noise_and_features(z, 321, cond, taps=[UNetTap("up", 0)])
    assert (eps.dtype, found.dtype) == (torch.float32, dtype)
    exact = DiffusersUNet(copy.deepcopy(backbone.model).float()).noise(z, 321, cond)
    assert (eps - exact).abs().mean() < 0.05 * exact.abs().mean()


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda b, z, c: b.noise(z[:, :3], 5, c), r"\[B, 4, h, w\], got \[2, 3, 8, 8\]"),
        (lambda b, z, c: b.noise(z, 1000, c), "timestep 1000"),
        (lambda b, z, c: b.noise(z, 0.5, c), "timestep 0.5"),
        (lambda b, z, c: b.noise(z, 5, Conditioning(c.txt[..., :4])), "width 6, got 4"),
        (lambda b, z, c: b.features(z, 5, c, taps=[]), "no taps"),
        (lambda b, z, c: b.features(z, 5, c, taps=[UNetTap("up", 2)]), "use -2 to 1"),
        (lambda b, z, c: b.noise(z, torch.tensor([5, 6]), c, kv=mutual_attention([])), "one int"),
        (lambda b, z, c: mutual_blocks(b, 9), "use 0 to"),
    ],
)
def test_what_cannot_be_is_refused_by_name(call, named):
    backbone = DiffusersUNet(make_model())
    z, cond = make_inputs()
    with pytest.raises(ValueError, match=named):
        call(backbone, z, cond)


def test_sdxl_without_a_pooled_prompt_is_refused():
    z, cond = make_inputs()
    with pytest.raises(ValueError, match="pooled"):
        DiffusersUNet(make_model("sdxl")).noise(z, 5, Conditioning(cond.txt))


def test_an_inpainting_unet_is_refused():
    with pytest.raises(ValueError, match="takes 9 channels and gives 4"):
        DiffusersUNet(make_model(in_channels=9))


def test_an_unknown_prediction_is_refused():
    with pytest.raises(ValueError, match="'sample' is unknown"):
        DiffusersUNet(make_model(), prediction="sample")
