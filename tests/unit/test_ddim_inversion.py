import pytest
import torch

from dragfield.core.backbones.unet import DiffusersUNet
from dragfield.core.edits.denoise import denoise
from dragfield.core.edits.state import DenoiseSettings, begin
from dragfield.core.model.attention import KVBank
from dragfield.core.model.backbone import Conditioning
from dragfield.core.model.mutual_attention import mutual_attention, mutual_blocks
from dragfield.core.progress import Interrupted, RunContext
from dragfield.core.sampling.ddim import PICTURE, ddim_step
from dragfield.core.sampling.ddim_inversion import DDIMSettings, invert_ddim, reconstruct_ddim
from dragfield.core.sampling.sampler import NoiseSampler

diffusers = pytest.importorskip("diffusers")


@pytest.fixture(scope="module")
def backbone():
    torch.manual_seed(0)
    return DiffusersUNet(
        diffusers.UNet2DConditionModel(
            block_out_channels=(8, 8), down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), norm_num_groups=4, layers_per_block=1,
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), attention_head_dim=2, cross_attention_dim=6,
        ).double()
    )  # fmt: skip


Z0 = torch.randn(1, 4, 5, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
COND = Conditioning(torch.randn(1, 3, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64))


def test_an_inversion_holds_the_latent_of_every_sampling_time(backbone):
    inversion = invert_ddim(backbone, Z0, COND, DDIMSettings(steps=10, strength=0.5))
    assert inversion.times == (401, 301, 201, 101, 1, PICTURE)
    assert len(inversion.path) == 6 and inversion.nfe == 5
    assert inversion.path[-1] is Z0 and inversion.z is inversion.path[0] and inversion.t == 401
    assert [inversion.index_at(t) for t in (401, 290, 3, PICTURE)] == [0, 1, 4, 5]


def test_each_state_follows_from_the_one_before_as_published(backbone):
    inversion = invert_ddim(backbone, Z0, COND, DDIMSettings(steps=10, strength=0.3))
    z, level = Z0, PICTURE
    for t in (1, 101, 201):
        z, level = ddim_step(z, backbone.noise(z, t, COND), backbone.schedule, level, t), t
        assert torch.equal(inversion.path[inversion.index_at(t)], z)


def test_more_steps_return_closer_to_the_picture(backbone):
    errors = []
    for steps in (4, 16):
        inversion = invert_ddim(backbone, Z0, COND, DDIMSettings(steps=steps, strength=0.5))
        path = reconstruct_ddim(backbone, inversion, COND)
        assert len(path) == len(inversion.times)
        errors.append((path[-1] - Z0).abs().max())
    assert errors[1] < 0.7 * errors[0]


def test_chosen_blocks_are_remembered_once_a_step(backbone):
    settings = DDIMSettings(steps=10, strength=0.3, kv_blocks=(("self", 2),))
    inversion = invert_ddim(backbone, Z0, COND, settings)
    assert [entry.t for entry in inversion.bank.entries] == [1.0, 101.0, 201.0]
    assert all(set(entry.blocks) == {("self", 2)} for entry in inversion.bank.entries)
    assert invert_ddim(backbone, Z0, COND, DDIMSettings(steps=10, strength=0.3)).bank.entries == []


def test_a_reconstruction_that_replays_its_own_keys_and_values_is_the_same(backbone):
    inversion = invert_ddim(backbone, Z0, COND, DDIMSettings(steps=10, strength=0.3))
    bank = KVBank([("self", 1), ("self", 2)])
    plain = reconstruct_ddim(backbone, inversion, COND, kv=bank.capture())
    assert torch.equal(reconstruct_ddim(backbone, inversion, COND, kv=bank.replay("matched"))[-1], plain[-1])


def test_it_reports_every_step_and_stops_when_asked(backbone):
    reports = []
    settings = DDIMSettings(steps=10, strength=0.5)
    with pytest.raises(Interrupted):
        invert_ddim(backbone, Z0, COND, settings, run=RunContext(reports.append, lambda: len(reports) == 2))
    assert [(p.stage, p.done, p.total) for p in reports] == [("invert", 1, 5), ("invert", 2, 5)]


def test_where_the_mask_is_closed_a_walk_is_the_inversion_s_own(backbone):
    inversion = invert_ddim(backbone, Z0, COND, DDIMSettings(steps=10, strength=0.3))
    mask = torch.zeros(5, 6, dtype=torch.bool)
    mask[1:3, 2:5] = True
    alone, sampler = DenoiseSettings(attention=None), NoiseSampler(backbone, COND)
    moved = begin(inversion, mask=mask, denoising=alone).moved_to(torch.where(mask, inversion.z + 0.5, inversion.z))
    states = list(denoise(sampler, moved))
    assert [state.t for state in states] == list(inversion.times[1:]) and states[-1].nfe_forward == 3
    assert torch.equal(states[-1].z[..., ~mask], Z0[..., ~mask]) and not torch.allclose(states[-1].z[..., mask], Z0[..., mask], atol=0.1)
    *_, free = denoise(sampler, begin(inversion, denoising=alone))
    assert torch.equal(free.z, reconstruct_ddim(backbone, inversion, COND)[-1])


def test_a_walk_that_looks_at_the_path_is_mutual_self_attention(backbone):
    inversion = invert_ddim(backbone, Z0, COND, DDIMSettings(steps=10, strength=0.3))
    z, blocks, sampler = inversion.z.flip(-1), mutual_blocks(backbone, 1), NoiseSampler(backbone, COND)

    def walked(**settings):
        return list(denoise(sampler, begin(inversion, denoising=DenoiseSettings(first=1, **settings)).moved_to(z)))

    walk = walked()
    t, to = inversion.times[:2]
    both = torch.cat([inversion.z, z])
    after = ddim_step(both, backbone.noise(both, t, COND, kv=mutual_attention(blocks)), backbone.schedule, t, to)
    assert torch.allclose(walk[0].z, after[1:], atol=1e-10) and walk[-1].nfe_forward == 6
    own, plain = walked(own_share=1.0), walked(attention=None)[-1]
    assert torch.allclose(own[-1].z, plain.z, atol=1e-10) and not torch.allclose(walk[-1].z, plain.z, atol=1e-4)
