"""Published adapter files, made here with their own keys at full count and reduced widths: read strictly, and computed as published."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from dragfield.core.adapters.contract import Injection, Injections, Subject
from dragfield.core.adapters.files import read_adapter
from dragfield.core.adapters.instant_character import DINO_LAYERS, SIGLIP_LAYERS, TIMES_KEPT, InstantCharacter

CONTEXT, HEAD, WIDTH = 6, 4, 8
PICTURE = torch.rand(1, 3, 20, 20, generator=torch.Generator().manual_seed(1))


def tensors(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {key: 0.3 * torch.randn(*shape, generator=generator) for key, shape in shapes.items()}


def xlabs(tokens: int = 4) -> dict[str, Tensor]:
    shapes: dict[str, tuple[int, ...]] = {f"ip_adapter_proj_model.{k}": s for k, s in {
        "proj.weight": (tokens * CONTEXT, 5), "proj.bias": (tokens * CONTEXT,), "norm.weight": (CONTEXT,), "norm.bias": (CONTEXT,),
    }.items()}  # fmt: skip
    for i in range(19):
        for one in "kv":
            name = f"double_blocks.{i}.processor.ip_adapter_double_stream_{one}_proj"
            shapes |= {f"{name}.weight": (WIDTH, CONTEXT), f"{name}.bias": (WIDTH,)}
    return tensors(shapes)


def instantx(tokens: int = 7) -> dict[str, dict[str, Tensor]]:
    image = {
        "proj.0.weight": (10, 5), "proj.0.bias": (10,), "proj.2.weight": (tokens * CONTEXT, 10), "proj.2.bias": (tokens * CONTEXT,),
        "norm.weight": (CONTEXT,), "norm.bias": (CONTEXT,),
    }  # fmt: skip
    blocks = {f"{i}.to_{one}_ip.weight": (WIDTH, CONTEXT) for i in range(57) for one in "kv"}
    return {"image_proj": tensors(image), "ip_adapter": tensors(blocks)}


def character(width: int = 8, inner: int = 8, queries: int = 3) -> dict[str, dict[str, Tensor]]:
    image: dict[str, tuple[int, ...]] = {}
    for branch in ("cross_layer_blocks", "cross_scale_blocks"):
        for i in range(4):
            at = f"{branch}.{i}"
            image |= {f"{at}.norm{n}.{part}": (width,) for n in (1, 2, 3) for part in ("weight", "bias")}
            image |= {f"{at}.attn{n}.to_{one}.weight": (width, width) for n in (1, 2) for one in "qkv"}
            for n in (1, 2):
                image |= {f"{at}.attn{n}.to_out.0.weight": (width, width), f"{at}.attn{n}.to_out.0.bias": (width,)}
            image |= {f"{at}.ff.net.0.proj.weight": (8 * width, width), f"{at}.ff.net.0.proj.bias": (8 * width,)}
            image |= {f"{at}.ff.net.2.weight": (width, 4 * width), f"{at}.ff.net.2.bias": (width,)}
    for name in ("proj", "proj_cross_layer", "proj_cross_scale"):
        image |= {f"{name}.fc1.weight": (2 * width, width), f"{name}.fc1.bias": (2 * width,)}
        image |= {f"{name}.fc2.weight": (width, 2 * width), f"{name}.fc2.bias": (width,)}
    image |= {
        "resampler.latents": (1, queries, inner), "resampler.proj_in.weight": (inner, width), "resampler.proj_in.bias": (inner,),
        "resampler.proj_out.weight": (CONTEXT, inner), "resampler.proj_out.bias": (CONTEXT,),
        "resampler.norm_out.weight": (CONTEXT,), "resampler.norm_out.bias": (CONTEXT,),
        "resampler.time_embedding.linear_1.weight": (inner, 320), "resampler.time_embedding.linear_1.bias": (inner,),
        "resampler.time_embedding.linear_2.weight": (inner, inner), "resampler.time_embedding.linear_2.bias": (inner,),
    }  # fmt: skip
    for i in range(4):
        at = f"resampler.layers.{i}"
        image |= {f"{at}.0.norm{n}.{part}": (inner,) for n in (1, 2) for part in ("weight", "bias")}
        image |= {f"{at}.0.to_{one}.weight": (rows * inner, inner) for one, rows in (("q", 1), ("kv", 2), ("out", 1))}
        image |= {f"{at}.1.0.weight": (inner,), f"{at}.1.0.bias": (inner,)}
        image |= {f"{at}.1.1.weight": (4 * inner, inner), f"{at}.1.3.weight": (inner, 4 * inner)}
        image |= {f"{at}.2.1.weight": (4 * inner, inner), f"{at}.2.1.bias": (4 * inner,)}
    blocks: dict[str, tuple[int, ...]] = {}
    for i in range(57):
        blocks |= {f"{i}.norm_ip_{one}.scale": (HEAD,) for one in "qk"}
        for one in "kv":
            blocks |= {f"{i}.to_{one}_ip.weight": (WIDTH, CONTEXT), f"{i}.to_{one}_ip.bias": (WIDTH,)}
    return {"image_proj": tensors(image), "ip_adapter": tensors(blocks)}


def flat(parts: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
    return {f"{part}.{key}": value for part, inner in parts.items() for key, value in inner.items()}


class Eyes:
    """Encoders that look at the picture's mean colour only."""

    def embeds(self, picture: Tensor) -> Tensor:
        return picture.mean() + torch.arange(5.0)[None]

    def maps(self, picture: Tensor, layers: list[int]) -> list[Tensor]:
        return [(picture.mean() + 0.1 * layer + torch.arange(4.0)).expand(1, 2, 4) for layer in layers]


def test_an_xlabs_file_is_read_and_projects_as_published(tmp_path: Path) -> None:
    state = xlabs()
    save_file(state, tmp_path / "a.safetensors")
    adapter = read_adapter(tmp_path / "a.safetensors", dtype=torch.float32, head=HEAD)
    assert (adapter.kind, adapter.place, adapter.text_rows) == ("XLabs FLUX IP-Adapter", "block", False)
    assert adapter.blocks == {("double", i) for i in range(19)}
    subject = adapter.encode(PICTURE, {"clip": Eyes()})
    both = torch.cat([Eyes().embeds(PICTURE), Eyes().embeds(torch.zeros_like(PICTURE))])
    x = both @ state["ip_adapter_proj_model.proj.weight"].T + state["ip_adapter_proj_model.proj.bias"]
    norm = [state[f"ip_adapter_proj_model.norm.{part}"] for part in ("weight", "bias")]
    tokens = torch.nn.functional.layer_norm(x.view(2, 4, CONTEXT), (CONTEXT,), *norm)
    torch.testing.assert_close(subject.tensors["tokens"], tokens)
    keys, values = adapter.keys_values(subject, 0.5)[("double", 7)]
    name = "double_blocks.7.processor.ip_adapter_double_stream_{}_proj"
    for found, one in ((keys, "k"), (values, "v")):
        expected = tokens @ state[name.format(one) + ".weight"].T + state[name.format(one) + ".bias"]
        torch.testing.assert_close(found.transpose(1, 2).flatten(2), expected)


def test_rows_of_the_negative_prompt_see_xlabs_black_picture(tmp_path: Path) -> None:
    """img += strength · softmax(q K / sqrt d) V behind the block, a row and head at a time, K and V of the row's own picture."""
    save_file(xlabs(), tmp_path / "a.safetensors")
    adapter = read_adapter(tmp_path / "a.safetensors", dtype=torch.float32, head=HEAD)
    subject = adapter.encode(PICTURE, {"clip": Eyes()})
    black = adapter.encode(torch.zeros_like(PICTURE), {"clip": Eyes()})
    block, q, stream = ("double", 3), torch.randn(3, 2, 7, HEAD), torch.randn(3, 6, WIDTH)
    negative = [True, False, True]
    call = Injections([Injection(adapter, subject, strength=0.7)]).begin(0.5, (2, 3), torch.tensor(negative))
    call.mix(block, q, None, 1, torch.zeros(3, 7, WIDTH))
    found, expected = call.behind(stream), stream.clone()
    for row, is_negative in enumerate(negative):
        keys, values = (x[0] for x in adapter.keys_values(black if is_negative else subject, 0.5)[block])
        for head in range(2):
            for token in range(6):
                weights = torch.softmax(keys[head] @ q[row, head, token + 1] / HEAD**0.5, dim=0)
                expected[row, token, head * HEAD : (head + 1) * HEAD] += 0.7 * weights @ values[head]
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(subject.tensors["tokens"][0], subject.tensors["tokens"][1])


def test_an_instantx_pickle_is_read_and_projects_as_published(tmp_path: Path) -> None:
    parts = instantx()
    torch.save(parts, tmp_path / "ip-adapter.bin")
    adapter = read_adapter(tmp_path / "ip-adapter.bin", dtype=torch.float32, head=HEAD)
    assert (adapter.kind, adapter.place, adapter.text_rows) == ("InstantX FLUX IP-Adapter", "attention", True)
    assert adapter.blocks == {("double", i) for i in range(19)} | {("single", i) for i in range(38)}
    subject = adapter.encode(PICTURE, {"siglip": Eyes()})
    image = parts["image_proj"]
    x = torch.nn.functional.gelu(Eyes().embeds(PICTURE) @ image["proj.0.weight"].T + image["proj.0.bias"])
    x = (x @ image["proj.2.weight"].T + image["proj.2.bias"]).view(1, 7, CONTEXT)
    tokens = torch.nn.functional.layer_norm(x, (CONTEXT,), image["norm.weight"], image["norm.bias"])
    keys, values = adapter.keys_values(subject, 0.5)[("single", 1)]
    k = (tokens @ parts["ip_adapter"]["20.to_k_ip.weight"].T).view(1, 7, 2, HEAD).transpose(1, 2)
    torch.testing.assert_close(keys, k / (k.square().mean(-1, keepdim=True) + 1e-5).sqrt())
    torch.testing.assert_close(values.transpose(1, 2).flatten(2), tokens @ parts["ip_adapter"]["20.to_v_ip.weight"].T)


def test_an_instantcharacter_file_is_read_flat_or_in_parts(tmp_path: Path) -> None:
    torch.save(character(), tmp_path / "a.bin")
    save_file(flat(character()), tmp_path / "b.safetensors")
    one, other = (read_adapter(tmp_path / name, dtype=torch.float32, inner_head=4) for name in ("a.bin", "b.safetensors"))
    assert isinstance(one, InstantCharacter) and (one.head_width, one.heads) == (HEAD, 2)
    for key, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[key])


def test_instantcharacters_tokens_follow_the_noise_and_are_made_once_a_time(tmp_path: Path) -> None:
    torch.save(character(), tmp_path / "a.bin")
    adapter = read_adapter(tmp_path / "a.bin", dtype=torch.float32, inner_head=4)
    seen: list[tuple[int, int]] = []

    class Counting(Eyes):
        def maps(self, picture: Tensor, layers: list[int]) -> list[Tensor]:
            seen.append((picture.shape[-1], len(layers)))
            return super().maps(picture, layers)

    subject = adapter.encode(PICTURE, {"siglip": Counting(), "dinov2": Counting()})
    assert seen == [(384, 4)] * 2 + [(384, 1)] * 8 and len(SIGLIP_LAYERS) == len(DINO_LAYERS) == 3
    # 2 tokens of the low scale: joined ones, then those of the cross-layer branch.
    assert subject.tensors["context"].shape == (1, 4, 8)
    runs: list[float] = []
    adapter.projector.resampler.register_forward_pre_hook(lambda module, given: runs.append(float(given[1])))
    early, late, again = (adapter.tokens(subject, t) for t in (0.9, 0.1, 0.9))
    assert early.shape == (1, 3, CONTEXT) and not torch.allclose(early, late) and torch.equal(again, early)
    assert torch.equal(adapter.tokens(subject.on("cpu"), 0.1), late) and runs == pytest.approx([900.0, 100.0])
    for step in range(2 * TIMES_KEPT):
        adapter.tokens(subject, step / 1000)
    assert len(subject.by_time) == TIMES_KEPT
    plain = read_adapter(tmp_path / "a.bin", dtype=torch.float32, inner_head=4, time_multiplier=1.0)
    alone = Subject(subject.kind, subject.tensors)
    assert torch.equal(plain.tokens(alone, 0.9), adapter.tokens(subject, 0.0009)) and list(alone.by_time) == ["0.9000"]
    assert not torch.allclose(plain.tokens(alone, 0.9), early)


def test_the_cross_branches_are_the_published_equation(tmp_path: Path) -> None:
    """x += SA(LN x); x += CA(LN x, context); x += W2 (value gelu(gate)), written out with one head a channel quartet."""
    torch.save(character(), tmp_path / "a.bin")
    projector = read_adapter(tmp_path / "a.bin", dtype=torch.float32, inner_head=8).projector
    block, raw = projector.cross_layer_blocks[2], character()["image_proj"]
    weight = lambda key: raw[f"cross_layer_blocks.2.{key}"]  # noqa: E731
    x, context = torch.randn(3, 8), torch.randn(5, 8)

    def attention(name: str, asking: Tensor, given: Tensor) -> Tensor:
        q, k, v = (y @ weight(f"{name}.to_{one}.weight").T for y, one in ((asking, "q"), (given, "k"), (given, "v")))
        return torch.softmax(q @ k.T / 8**0.5, -1) @ v @ weight(f"{name}.to_out.0.weight").T + weight(f"{name}.to_out.0.bias")

    def norm(n: int, y: Tensor) -> Tensor:
        return torch.nn.functional.layer_norm(y, (8,), weight(f"norm{n}.weight"), weight(f"norm{n}.bias"), 1e-6)

    expected = x + attention("attn1", norm(1, x), norm(1, x))
    expected = expected + attention("attn2", norm(2, expected), context)
    value, gate = (norm(3, expected) @ weight("ff.net.0.proj.weight").T + weight("ff.net.0.proj.bias")).chunk(2, -1)
    expected = expected + (value * torch.nn.functional.gelu(gate)) @ weight("ff.net.2.weight").T + weight("ff.net.2.bias")
    torch.testing.assert_close(block(x[None], context[None])[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda s: s.pop("ip_adapter.30.to_v_ip.weight"), "1 tensors are missing, such as attention.layers.30"),
        (lambda s: s.update({"ip_adapter.3.extra": torch.ones(1)}), "1 tensors too many"),
        (lambda s: s.update({"ip_adapter.3.to_k_ip.weight": torch.ones(WIDTH, CONTEXT + 1)}), "is it for another model"),
        (lambda s: s.pop("image_proj.proj.0.weight"), "lacks 'projector.proj.0.weight'"),
    ],
)
def test_a_file_that_is_not_whole_is_refused(tmp_path: Path, change, sentence: str) -> None:
    state = flat(instantx())
    change(state)
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=sentence) as refused:
        read_adapter(tmp_path / "a.safetensors", head=HEAD)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("redux_up.weight", "FLUX Redux"),
        ("id_adapter.id_embedding_mapping.0.weight", "PuLID for SDXL"),
        ("ip_adapter.1.to_q_lora.down.weight", "FaceID"),
        ("something.else", "no subject adapter known here"),
    ],
)
def test_other_kinds_of_file_are_named(tmp_path: Path, key: str, sentence: str) -> None:
    save_file({key: torch.ones(2, 2)}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=sentence):
        read_adapter(tmp_path / "a.safetensors")


class _Harm:
    def __reduce__(self):
        return (exec, ("raise SystemExit('ran')",))


def test_a_file_with_code_in_it_is_never_run(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(pickle.dumps({"image_proj": _Harm()}))
    with pytest.raises(ValueError, match="a.bin"):
        read_adapter(tmp_path / "a.bin")


def test_a_file_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"not a file")
    for name in ("a.safetensors", "b.safetensors", "c.bin"):
        with pytest.raises(ValueError, match=r"can't be read|there is no file"):
            read_adapter(tmp_path / name)
