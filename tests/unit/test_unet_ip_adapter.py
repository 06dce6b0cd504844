"""IP-Adapters for UNets: their published files, made here with their own keys at full count and reduced widths, read strictly, computed as
published, and at work in a diffusers UNet.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from dragfield.core.adapters.contract import Injection, Injections, Subject
from dragfield.core.adapters.files import read_adapter
from dragfield.core.adapters.unet_ip_adapter import execution_order
from dragfield.core.backbones.unet import DiffusersUNet
from dragfield.core.model.attention import KVBank
from dragfield.core.model.backbone import Conditioning
from dragfield.core.model.unet_taps import UNetTap

PICTURE = torch.rand(1, 3, 20, 20, generator=torch.Generator().manual_seed(1))
GIVEN, CONTEXT = 5, 6
WIDTHS = {"SD 1.5": [8] * 16, "SDXL": [8] * 70}


def state(base: str, kind: str) -> dict[str, Tensor]:
    """A file of the published kinds: base, plus, full-face."""
    shapes: dict[str, tuple[int, ...]] = {}
    for n, width in enumerate(WIDTHS[base]):
        shapes |= {f"ip_adapter.{2 * n + 1}.to_{one}_ip.weight": (width, CONTEXT) for one in "kv"}
    if kind == "base":
        image: dict[str, tuple[int, ...]] = {"proj.weight": (4 * CONTEXT, GIVEN), "proj.bias": (4 * CONTEXT,), "norm.weight": (CONTEXT,)}
        image["norm.bias"] = (CONTEXT,)
    elif kind == "full-face":
        image = {"proj.0.weight": (GIVEN, GIVEN), "proj.0.bias": (GIVEN,), "proj.2.weight": (CONTEXT, GIVEN), "proj.2.bias": (CONTEXT,)}
        image |= {"proj.3.weight": (CONTEXT,), "proj.3.bias": (CONTEXT,)}
    else:
        image = {"latents": (1, 16, 8), "proj_in.weight": (8, GIVEN), "proj_in.bias": (8,), "proj_out.weight": (CONTEXT, 8)}
        image |= {"proj_out.bias": (CONTEXT,), "norm_out.weight": (CONTEXT,), "norm_out.bias": (CONTEXT,)}
        for i in range(4):
            image |= {f"layers.{i}.0.norm{n}.{part}": (8,) for n in (1, 2) for part in ("weight", "bias")}
            image |= {f"layers.{i}.0.to_{one}.weight": (rows * 8, 8) for one, rows in (("q", 1), ("kv", 2), ("out", 1))}
            image |= {f"layers.{i}.1.0.weight": (8,), f"layers.{i}.1.0.bias": (8,)}
            image |= {f"layers.{i}.1.1.weight": (32, 8), f"layers.{i}.1.3.weight": (8, 32)}
    shapes |= {f"image_proj.{key}": shape for key, shape in image.items()}
    generator = torch.Generator().manual_seed(0)
    return {key: 0.3 * torch.randn(*shape, generator=generator) for key, shape in shapes.items()}


class Eyes:
    """An encoder that looks at the picture's mean brightness only."""

    def embeds(self, picture: Tensor) -> Tensor:
        return picture.mean() + torch.arange(float(GIVEN))[None]

    def penultimate(self, picture: Tensor) -> Tensor:
        return (picture.mean() + torch.arange(3.0 * GIVEN)).view(1, 3, GIVEN)


def read(tmp_path: Path, base: str, kind: str):
    save_file(state(base, kind), tmp_path / "a.safetensors")
    return read_adapter(tmp_path / "a.safetensors", dtype=torch.float32, head=4, inner_head=4)


def test_the_files_order_is_down_up_middle_and_ours_that_of_execution() -> None:
    order = execution_order("SD 1.5")
    assert (order[0], order[5], order[6], order[14], order[15]) == (("cross", 0), ("cross", 5), ("cross", 7), ("cross", 15), ("cross", 6))
    order = execution_order("SDXL")
    assert (order[23], order[24], order[59], order[60], order[69]) == tuple(("cross", n) for n in (23, 34, 69, 24, 33))


@pytest.mark.parametrize("base", WIDTHS)
@pytest.mark.parametrize(("kind", "tokens"), [("base", 4), ("plus", 16), ("full-face", 3)])
def test_a_published_file_is_read_and_gives_the_subject_and_the_negative_prompt_their_keys(
    tmp_path: Path, base: str, kind: str, tokens: int
) -> None:
    adapter, raw = read(tmp_path, base, kind), state(base, kind)
    assert adapter.kind == f"IP-Adapter for {base}" and len(adapter.blocks) == len(WIDTHS[base])
    subject = adapter.encode(PICTURE, {"clip": Eyes()})
    found = subject.tensors["tokens"]
    assert found.shape == (2, tokens, CONTEXT)
    last = len(WIDTHS[base]) - 1
    keys, values = adapter.keys_values(subject, 0.3)[adapter.order[last]]
    for made, one in ((keys, "k"), (values, "v")):
        expected = found @ raw[f"ip_adapter.{2 * last + 1}.to_{one}_ip.weight"].T
        torch.testing.assert_close(made.transpose(1, 2).flatten(2), expected)
    # SD 1.5 has always 8 heads, SDXL heads of one width, here 4.
    assert keys.shape[1] == (8 if base == "SD 1.5" else 2)


def test_the_base_projector_is_the_published_equation_and_nothing_is_zeros(tmp_path: Path) -> None:
    adapter, raw = read(tmp_path, "SD 1.5", "base"), state("SD 1.5", "base")
    norm = (raw["image_proj.norm.weight"], raw["image_proj.norm.bias"])
    found = adapter.encode(PICTURE, {"clip": Eyes()}).tensors["tokens"]
    for row, vector in ((0, Eyes().embeds(PICTURE)[0]), (1, torch.zeros(GIVEN))):
        x = (raw["image_proj.proj.weight"] @ vector + raw["image_proj.proj.bias"]).view(4, CONTEXT)
        torch.testing.assert_close(found[row], torch.nn.functional.layer_norm(x, (CONTEXT,), *norm))


def test_the_face_projector_is_the_published_equation(tmp_path: Path) -> None:
    adapter, raw = read(tmp_path, "SDXL", "full-face"), state("SDXL", "full-face")
    x = torch.nn.functional.gelu(Eyes().penultimate(PICTURE)[0] @ raw["image_proj.proj.0.weight"].T + raw["image_proj.proj.0.bias"])
    x = x @ raw["image_proj.proj.2.weight"].T + raw["image_proj.proj.2.bias"]
    expected = torch.nn.functional.layer_norm(x, (CONTEXT,), raw["image_proj.proj.3.weight"], raw["image_proj.proj.3.bias"])
    torch.testing.assert_close(adapter.encode(PICTURE, {"clip": Eyes()}).tensors["tokens"][0], expected)


def test_another_clip_is_refused_in_one_sentence(tmp_path: Path) -> None:
    wide = SimpleNamespace(embeds=lambda picture: torch.ones(1, GIVEN + 1))
    with pytest.raises(ValueError, match=r"gives 6 channels, IP-Adapter for SDXL takes 5: connect"):
        read(tmp_path, "SDXL", "base").encode(PICTURE, {"clip": wide})


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda s: s.pop("ip_adapter.29.to_v_ip.weight"), "1 tensors are missing"),
        (lambda s: s.pop("ip_adapter.29.to_k_ip.weight"), "lacks 'attention.layers.29.to_k_ip.weight'"),
        (lambda s: s.update({"ip_adapter.2.to_k_ip.weight": torch.ones(8, CONTEXT)}), "1 tensors too many"),
        (lambda s: s.update({"ip_adapter.3.to_v_ip.weight": torch.ones(8, 7)}), "is it for another model"),
    ],
)
def test_a_file_that_is_not_whole_is_refused(tmp_path: Path, change, sentence: str) -> None:
    damaged = state("SD 1.5", "base")
    change(damaged)
    save_file(damaged, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=sentence):
        read_adapter(tmp_path / "a.safetensors")


@pytest.fixture(scope="module")
def unet() -> DiffusersUNet:
    """SD 1.5's sixteen cross-attentions, tiny."""
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    model = diffusers.UNet2DConditionModel(
        block_out_channels=(8, 8, 8, 8), cross_attention_dim=CONTEXT, attention_head_dim=8, norm_num_groups=4, in_channels=4,
    )  # fmt: skip
    return DiffusersUNet(model)


Z = torch.randn(1, 4, 9, 8, generator=torch.Generator().manual_seed(2))
COND = Conditioning(torch.randn(1, 3, CONTEXT, generator=torch.Generator().manual_seed(3)))


def test_in_a_unet_the_answer_joins_in_front_of_the_output_projection(tmp_path: Path, unet: DiffusersUNet) -> None:
    """out = W_o(A(q, K_text, V_text) + s A(q, K, V)), written out in the middle block, the last of the file."""
    adapter = read(tmp_path, "SD 1.5", "base")
    subject = adapter.encode(PICTURE, {"clip": Eyes()})
    live = unet.with_subjects(Injections([Injection(adapter, subject, strength=0.7)]))
    attn = unet.model.mid_block.attentions[0].transformer_blocks[0].attn2
    seen: dict[str, Tensor] = {}
    handles = [
        attn.to_q.register_forward_hook(lambda m, a, out: seen.update(q=out)),
        attn.register_forward_hook(lambda m, a, out: seen.update(out=out)),
    ]
    with torch.no_grad():
        live.noise(Z, 500, COND)
        raw = state("SD 1.5", "base")
        tokens = subject.tensors["tokens"][0]

        def heads(x: Tensor) -> Tensor:
            return x.view(-1, 8, 1).transpose(0, 1)

        def attend(k: Tensor, v: Tensor) -> Tensor:
            weights = torch.softmax(heads(seen["q"][0]) @ heads(k).transpose(1, 2), dim=-1)
            return (weights @ heads(v)).transpose(0, 1).flatten(1)

        text = attend(attn.to_k(COND.txt[0]), attn.to_v(COND.txt[0]))
        own = attend(*(tokens @ raw[f"ip_adapter.31.to_{one}_ip.weight"].T for one in "kv"))
        expected = attn.to_out[0](text + 0.7 * own)
    for handle in handles:
        handle.remove()
    torch.testing.assert_close(seen["out"][0], expected)


def test_what_does_not_work_changes_no_bit_and_nothing_stays_behind(tmp_path: Path, unet: DiffusersUNet) -> None:
    adapter = read(tmp_path, "SD 1.5", "plus")
    subject = adapter.encode(PICTURE, {"clip": Eyes()})
    with torch.no_grad():
        before = unet.noise(Z, 500, COND)
        late = unet.with_subjects(Injections([Injection(adapter, subject, start=0.4)]))
        assert torch.equal(late.noise(Z, 500, COND), before)
        assert not torch.equal(late.noise(Z, 300, COND), unet.noise(Z, 300, COND))
        assert torch.equal(unet.noise(Z, 500, COND), before)
    assert all("_Ask" not in type(p).__name__ for p in unet.model.attn_processors.values())


def test_it_works_with_kv_injection_gradients_early_exit_and_an_area(tmp_path: Path, unet: DiffusersUNet) -> None:
    adapter = read(tmp_path, "SD 1.5", "base")
    subject = adapter.encode(PICTURE, {"clip": Eyes()})
    area = torch.zeros(9, 8)
    area[:, :4] = 1
    both = [Injection(adapter, subject, 0.5), Injection(adapter, subject, 0.8, area=area)]
    live = unet.with_subjects(Injections(both))
    bank = KVBank(frozenset([("self", 2)]))
    with torch.no_grad():
        plain = live.noise(Z, 500, COND, kv=bank.capture())
        assert torch.equal(live.noise(Z, 500, COND, kv=bank.hold()), plain)
        everywhere = unet.with_subjects(Injections([Injection(adapter, subject, 0.5), Injection(adapter, subject, 0.8)]))
        assert not torch.allclose(everywhere.noise(Z, 500, COND), plain)
    leaf = Z.clone().requires_grad_()
    (found,) = live.features(leaf, 500, COND, taps=[UNetTap("up", 1)])
    (slope,) = torch.autograd.grad(found.square().sum(), leaf)
    leaf = Z.clone().requires_grad_()
    _, (again,) = live.noise_and_features(leaf, 500, COND, taps=[UNetTap("up", 1)])
    torch.testing.assert_close(found, again)
    assert slope.abs().max() > 0


def test_the_negative_prompts_rows_see_the_negative_row(tmp_path: Path) -> None:
    adapter = read(tmp_path, "SD 1.5", "base")
    subject = adapter.encode(PICTURE, {"clip": Eyes()})
    q, mixed = torch.randn(2, 8, 6, 1), torch.zeros(2, 6, 8)
    together, block = Injections([Injection(adapter, subject)]), ("cross", 6)
    both = together.begin(0.5, (3, 2), torch.tensor([True, False])).mix(block, q, None, 0, mixed)
    positive = together.begin(0.5, (3, 2)).mix(block, q, None, 0, mixed)
    torch.testing.assert_close(both[1], positive[1])
    swapped = Subject(adapter.kind, {"tokens": subject.tensors["tokens"].flip(0)})
    other = Injections([Injection(adapter, swapped)]).begin(0.5, (3, 2)).mix(block, q, None, 0, mixed)
    torch.testing.assert_close(both[0], other[0])


def test_a_unet_of_another_shape_is_refused(tmp_path: Path, unet: DiffusersUNet) -> None:
    adapter = read(tmp_path, "SDXL", "base")
    with pytest.raises(ValueError, match="use the model that the adapter was made for"):
        unet.with_subjects(Injections([Injection(adapter, Subject(adapter.kind, {}))]))
