"""The readout head is the published one in numbers and layout, only cheaper, and nothing but the right weights gets in."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import group_norm, interpolate, linear, relu

from dragfield.core.field import DragField
from dragfield.core.instruction.operations import Drag, RegionOperation
from dragfield.core.model.readout import ReadoutConfig, ReadoutHead, load_readout
from dragfield.core.optimise.appearance import ReadoutSettings, appearance_term, readout_distance, readout_of
from dragfield.core.optimise.region_drag import RegionDragSettings, region_drag
from dragfield.core.sampling.sampler import FlowSampler, NoiseSampler, sampler_of

sys.path.insert(0, str(Path(__file__).parent))
from point_world import COND, ConvBackbone, FlowConv, latent  # noqa: E402

SD15 = (1280,) * 6 + (640,) * 3 + (320,) * 3
SMALL = ReadoutConfig((6, 16, 5), projection=16, embedding=8, groups=2)


def small(config: ReadoutConfig = SMALL) -> ReadoutHead:
    torch.manual_seed(0)
    return ReadoutHead(config)


def maps() -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    return [torch.randn(1, c, h, w, generator=g) for c, h, w in ((6, 3, 4), (16, 6, 8), (5, 12, 16))]


def published(head: ReadoutHead, features, embedding, size) -> torch.Tensor:
    """The head as it was published: every map resized first, then every convolution at the full size."""
    state, groups = head.state_dict(), head.config.groups
    outs = []
    for i, x in enumerate(features):
        def normed(name: str, value: torch.Tensor, pad: int = 0, prefix: str = f"bottleneck_layers.{i}") -> torch.Tensor:
            key = f"{prefix}.{name}"
            value = torch.nn.functional.conv2d(value, state[f"{key}.weight"], padding=pad)
            return group_norm(value, groups, state[f"{key}.norm.weight"], state[f"{key}.norm.bias"])

        x = interpolate(x, size, mode="bilinear", align_corners=False)
        y = relu(normed("conv1", x))
        projection = [state[f"bottleneck_layers.{i}.emb_layers.{part}"] for part in ("weight", "bias")]
        y = y + relu(linear(embedding, *projection))[..., None, None]
        y = normed("conv3", relu(normed("conv2", y, 1)))
        shortcut = x if f"bottleneck_layers.{i}.shortcut.weight" not in state else normed("shortcut", x)
        outs.append(relu(y + shortcut))
    return sum(w * out for w, out in zip(state["mixing_weights"].softmax(0), outs, strict=True))


@pytest.mark.parametrize("size", [(12, 16), (16, 16)])
def test_convolving_before_resizing_gives_the_published_numbers(size) -> None:
    head, embedding = small(), torch.randn(1, 8)
    with torch.no_grad():
        head.mixing_weights.copy_(torch.tensor([0.3, -0.2, 1.0]))
        found, expected = head(maps(), embedding, size), published(head, maps(), embedding, size)
    assert found.shape == (1, 16, *size) and torch.allclose(found, expected, atol=1e-5)


def test_the_head_for_sd15_has_the_published_parameters() -> None:
    assert sum(p.numel() for p in ReadoutHead(ReadoutConfig(SD15)).parameters()) == 8_005_260
    sdxl = ReadoutConfig((1280,) * 3 + (640,) * 3 + (320,) * 3)
    assert sum(p.numel() for p in ReadoutHead(sdxl).parameters()) == 5_427_945


def checkpoint(head: ReadoutHead, sequential: bool = False) -> dict:
    """What the published training saves."""
    state = {}
    for name, value in head.state_dict().items():
        parts = name.split(".")
        if sequential and parts[0] == "bottleneck_layers":
            parts.insert(2, "0")
        state[".".join(parts)] = value
    config = {"projection_dim": 16, "dims": list(head.config.dims), "save_timestep": [0], "num_timesteps": 1000,
              "aggregation_kwargs": {"use_output_head": False, "bottleneck_sequential": sequential}}  # fmt: skip
    return {"step": 1000, "config": config, "aggregation_network": state, "optimizer_state_dict": {"state": {}, "param_groups": []}}


def test_published_checkpoints_load_strictly(tmp_path) -> None:
    head = small()
    torch.save(checkpoint(head), tmp_path / "head.pt")
    # A published head always has 32 groups; with this small one's 4 channels a bottleneck cannot have.
    with pytest.raises(ValueError, match="cannot be built"):
        load_readout(tmp_path / "head.pt")
    head = small(ReadoutConfig((6, 5), projection=128, embedding=8))
    torch.save(checkpoint(head), tmp_path / "head.pt")
    again = load_readout(tmp_path / "head.pt")
    assert all(torch.equal(a, b) for a, b in zip(head.state_dict().values(), again.state_dict().values(), strict=True))
    assert not any(p.requires_grad for p in again.parameters())
    assert {"mixing_weights", "bottleneck_layers.1.conv2.norm.bias", "bottleneck_layers.0.emb_layers.weight"} <= set(head.state_dict())


def test_the_sequential_variant_is_not_told_the_time(tmp_path) -> None:
    head = small(ReadoutConfig((6, 5), projection=128, embedding=0))
    torch.save(checkpoint(head, sequential=True), tmp_path / "head.pt")
    again = load_readout(tmp_path / "head.pt")
    assert again.config.embedding == 0
    assert torch.equal(again([maps()[0], maps()[2]]), head([maps()[0], maps()[2]]))


def test_our_own_files_remember_their_shape(tmp_path) -> None:
    head = small()
    again = load_readout(head.save(tmp_path / "heads" / "head.safetensors"))
    assert again.config == head.config
    assert torch.equal(again(maps(), torch.ones(1, 8)), head(maps(), torch.ones(1, 8)))


class Evil:
    def __reduce__(self):
        return (print, ("this must never run",))


def test_wrong_files_are_refused_in_one_sentence(tmp_path, capsys) -> None:
    wide = small(ReadoutConfig((6, 5), projection=128, embedding=8))
    missing, extra, shape = (checkpoint(wide) for _ in range(3))
    del missing["aggregation_network"]["bottleneck_layers.1.conv2.weight"]
    extra["aggregation_network"]["output_head.0.weight"] = torch.ones(1)
    shape["aggregation_network"]["bottleneck_layers.1.conv2.weight"] = torch.ones(3)
    cases = {
        "missing": (missing, "does not hold"), "extra": (extra, "does not hold"), "shape": (shape, "does not hold"),
        "code": ({"aggregation_network": Evil()}, "plain weights"), "other": ({"weights": 1}, "no aggregation_network"),
        "number": (7, "no aggregation_network"), "empty": ({"aggregation_network": {}}, "lacks the key"),
    }  # fmt: skip
    for name, (content, words) in cases.items():
        torch.save(content, tmp_path / f"{name}.pt")
        with pytest.raises(ValueError, match=words):
            load_readout(tmp_path / f"{name}.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Evil()))
    (tmp_path / "junk.pt").write_bytes(b"junk")
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    for name in ("plain.pt", "junk.pt", "junk.safetensors"):
        with pytest.raises(ValueError, match=r"plain weights|no readout head"):
            load_readout(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="no readout head at"):
        load_readout(tmp_path / "nowhere.pt")
    assert capsys.readouterr().out == ""


def test_features_of_another_model_are_refused() -> None:
    with pytest.raises(ValueError, match=r"reads maps of \[6, 16, 5\] channels, got \[6, 16\]"):
        small()(maps()[:2], torch.ones(1, 8))
    with pytest.raises(ValueError, match="embedding of width 8, got none"):
        small()(maps())
    with pytest.raises(ValueError, match="cannot be built"):
        ReadoutConfig((6,), projection=384, groups=31)


def test_distances_are_zero_for_the_same_and_largest_for_opposites() -> None:
    a = torch.randn(2, 16, 4, 4)
    for distance in ("cosine", "l2"):
        assert readout_distance(a, a, distance).abs().max() < 1e-6
    assert torch.allclose(readout_distance(a, -a), torch.full((2,), 2.0))
    assert torch.allclose(readout_distance(a, 3 * a), torch.zeros(2), atol=1e-6) and readout_distance(a, 3 * a, "l2").min() > 1


@pytest.mark.parametrize(
    ("probe", "t", "channels"),
    [(NoiseSampler(ConvBackbone(), COND), 741, (24, 24)), (FlowSampler(FlowConv(), COND), 0.8, (32,) * 4)],
)
def test_the_term_reads_a_unet_and_a_transformer(probe, t, channels) -> None:
    head = small(ReadoutConfig(channels, projection=16, embedding=probe.embedding_dim, groups=2))
    z = latent()
    for settings in (ReadoutSettings(), ReadoutSettings(distance="l2", range_factor=False, time="mirrored", size=(6, 6))):
        term = appearance_term(probe, head, z, t, readout_of(probe, head, z, t, settings), settings)
        same = term(probe.features(z, t, term.taps), z)
        leaf = (z + 0.3 * latent(2)).requires_grad_()
        other = term(probe.features(leaf, t, term.taps), leaf)
        (g,) = torch.autograd.grad(other.sum(), leaf)
        assert same.abs().max() < 1e-2 < other.min() and g.abs().max() > 0
    assert not any(p.requires_grad for p in head.parameters())


def test_the_region_optimiser_takes_the_term_too() -> None:
    backbone, z = FlowConv(), latent()
    probe = FlowSampler(backbone, COND)
    head = small(ReadoutConfig((32,) * 4, projection=16, embedding=256, groups=2))
    mask = np.zeros((96, 128), bool)
    mask[32:64, 32:64] = True
    field = DragField.from_drag(Drag((128, 96), (RegionOperation(mask, "relocation", (72.0, 48.0)),)))
    term = appearance_term(probe, head, z, 0.8, readout_of(probe, head, z, 0.8))
    settings = RegionDragSettings(transport_steps=2, intensify_steps=0, guidance=1.0)
    plain, guided = (list(region_drag(sampler_of(backbone, COND), z, 0.8, field, None, settings, terms=terms)) for terms in ((), (term,)))
    assert float(guided[-1].loss) > float(plain[-1].loss) and not torch.equal(plain[-1].z, guided[-1].z)


def test_the_published_factor_is_the_squared_range_of_the_latent() -> None:
    probe = NoiseSampler(ConvBackbone(), COND)
    head, z = small(ReadoutConfig((24, 24), projection=16, embedding=8, groups=2)), latent()
    wanted = readout_of(probe, head, latent(3), 741)
    full = appearance_term(probe, head, z, 741, wanted)
    plain = appearance_term(probe, head, z, 741, wanted, ReadoutSettings(weight=1.0, range_factor=False))
    features = probe.features(z, 741, full.taps)
    assert float(full(features, z)) == pytest.approx(350 * float((z.max() - z.min()) ** 2 * plain(features, z)), rel=1e-4)
