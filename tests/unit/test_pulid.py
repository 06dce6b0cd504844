"""PuLID-FLUX: its published file, made here with its own keys at full count and reduced widths, and what it adds behind a block."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from dragfield.core.adapters.contract import Injection, Injections
from dragfield.core.adapters.files import read_adapter
from dragfield.core.adapters.pulid import BLOCKS

WIDTH, GIVEN, CONTEXT, MODEL, HEAD = 8, 6, 8, 12, 4


def state() -> dict[str, Tensor]:
    shapes: dict[str, tuple[int, ...]] = {"latents": (1, 3, WIDTH), "proj_out": (WIDTH, CONTEXT)}
    for i in range(10):
        shapes |= {f"layers.{i}.0.norm{n}.{part}": (WIDTH,) for n in (1, 2) for part in ("weight", "bias")}
        shapes |= {f"layers.{i}.0.to_{one}.weight": (rows * WIDTH, WIDTH) for one, rows in (("q", 1), ("kv", 2), ("out", 1))}
        shapes |= {f"layers.{i}.1.0.{part}": (WIDTH,) for part in ("weight", "bias")}
        shapes |= {f"layers.{i}.1.1.weight": (4 * WIDTH, WIDTH), f"layers.{i}.1.3.weight": (WIDTH, 4 * WIDTH)}
    for name, given, out in [*((f"mapping_{j}", WIDTH, WIDTH) for j in range(5)), ("id_embedding_mapping", GIVEN, 5 * WIDTH)]:
        for at, (rows, columns) in ((0, (WIDTH, given)), (3, (WIDTH, WIDTH)), (6, (out, WIDTH))):
            shapes |= {f"{name}.{at}.weight": (rows, columns), f"{name}.{at}.bias": (rows,)}
        shapes |= {f"{name}.{at}.{part}": (WIDTH,) for at in (1, 4) for part in ("weight", "bias")}
    shapes = {f"pulid_encoder.{key}": shape for key, shape in shapes.items()}
    for i in range(20):
        shapes |= {f"pulid_ca.{i}.norm1.{part}": (CONTEXT,) for part in ("weight", "bias")}
        shapes |= {f"pulid_ca.{i}.norm2.{part}": (MODEL,) for part in ("weight", "bias")}
        for name, shape in (("to_q", (CONTEXT, MODEL)), ("to_kv", (2 * CONTEXT, CONTEXT)), ("to_out", (MODEL, CONTEXT))):
            shapes[f"pulid_ca.{i}.{name}.weight"] = shape
    generator = torch.Generator().manual_seed(0)
    return {key: 0.4 * torch.randn(*shape, generator=generator) for key, shape in shapes.items()}


class Face:
    def face(self, picture: Tensor) -> tuple[Tensor, list[Tensor]]:
        generator = torch.Generator().manual_seed(1)
        return torch.randn(1, GIVEN, generator=generator), [torch.randn(1, 4, WIDTH, generator=generator) for _ in range(5)]


@pytest.fixture
def adapter(tmp_path: Path):
    save_file(state(), tmp_path / "pulid.safetensors")
    return read_adapter(tmp_path / "pulid.safetensors", dtype=torch.float32, head=HEAD, inner_head=4)


def test_a_published_file_is_read_and_knows_its_blocks(adapter) -> None:
    assert (adapter.kind, adapter.place, adapter.needs) == ("PuLID-FLUX", "stream", ("face",))
    assert len(BLOCKS) == 20 and BLOCKS[9] == ("double", 18) and BLOCKS[10] == ("single", 0) and BLOCKS[19] == ("single", 36)


def test_the_identity_is_read_layer_after_layer_as_published(adapter) -> None:
    """z += attention(cat[x, M_j(map_j)], z); z += W2 gelu(W1 LN z), two layers a map, written out."""
    raw = {key.removeprefix("pulid_encoder."): value for key, value in state().items()}

    def norm(name: str, y: Tensor) -> Tensor:
        return torch.nn.functional.layer_norm(y, (WIDTH,), raw[f"{name}.weight"], raw[f"{name}.bias"])

    def mapped(name: str, y: Tensor) -> Tensor:
        for at in (0, 3):
            y = norm(f"{name}.{at + 1}", y @ raw[f"{name}.{at}.weight"].T + raw[f"{name}.{at}.bias"])
            y = torch.where(y > 0, y, 0.01 * y)
        return y @ raw[f"{name}.6.weight"].T + raw[f"{name}.6.bias"]

    vector, maps = Face().face(torch.zeros(1))
    x = mapped("id_embedding_mapping", vector[0]).view(5, WIDTH)
    z = torch.cat([raw["latents"][0], x])
    for i in range(10):
        at = f"layers.{i}"
        given = norm(f"{at}.0.norm1", torch.cat([x, mapped(f"mapping_{i // 2}", maps[i // 2][0])]))
        asking = norm(f"{at}.0.norm2", z)
        k, v = (torch.cat([given, asking]) @ raw[f"{at}.0.to_kv.weight"].T).chunk(2, -1)
        q, found = asking @ raw[f"{at}.0.to_q.weight"].T, []
        for h in (slice(0, 4), slice(4, 8)):
            found.append(torch.softmax(q[:, h] @ k[:, h].T / 2.0, -1) @ v[:, h])
        z = z + torch.cat(found, -1) @ raw[f"{at}.0.to_out.weight"].T
        z = z + torch.nn.functional.gelu(norm(f"{at}.1.0", z) @ raw[f"{at}.1.1.weight"].T) @ raw[f"{at}.1.3.weight"].T
    tokens = adapter.encode(torch.zeros(1, 3, 4, 4), {"face": Face()}).tensors["tokens"]
    torch.testing.assert_close(tokens[0], z[:3] @ raw["proj_out"], rtol=1e-4, atol=1e-4)


def test_a_negative_prompt_sees_a_face_of_zeros(adapter) -> None:
    class Nobody:
        def face(self, picture: Tensor) -> tuple[Tensor, list[Tensor]]:
            vector, maps = Face().face(picture)
            return torch.zeros_like(vector), [torch.zeros_like(x) for x in maps]

    tokens, nobody = (adapter.encode(torch.zeros(1, 3, 4, 4), {"face": one}).tensors["tokens"] for one in (Face(), Nobody()))
    torch.testing.assert_close(tokens[1], nobody[0])
    assert not torch.allclose(tokens[0], tokens[1])


def test_behind_a_block_the_stream_asks_the_identity_and_text_gets_nothing(adapter) -> None:
    raw, subject = state(), adapter.encode(torch.zeros(1, 3, 4, 4), {"face": Face()})
    call = Injections([Injection(adapter, subject, strength=0.6)]).begin(0.5, (2, 3))
    block, number = ("single", 4), 11
    stream, mixed = torch.randn(1, 8, MODEL), torch.randn(1, 8, MODEL)
    assert call.mix(block, torch.randn(1, 3, 8, 4), None, 2, mixed) is mixed
    found = call.behind(stream, text_rows=2)
    assert torch.equal(found[:, :2], stream[:, :2])
    weight = lambda key: raw[f"pulid_ca.{number}.{key}"]  # noqa: E731
    tokens, image = subject.tensors["tokens"][0], stream[0, 2:]
    given = torch.nn.functional.layer_norm(tokens, (CONTEXT,), weight("norm1.weight"), weight("norm1.bias"))
    q = torch.nn.functional.layer_norm(image, (MODEL,), weight("norm2.weight"), weight("norm2.bias")) @ weight("to_q.weight").T
    k, v = (given @ weight("to_kv.weight").T).chunk(2, -1)
    heads = [torch.softmax(q[:, h] @ k[:, h].T / 2.0, -1) @ v[:, h] for h in (slice(0, 4), slice(4, 8))]
    torch.testing.assert_close(found[0, 2:], image + 0.6 * torch.cat(heads, -1) @ weight("to_out.weight").T)
    # A block that it has nothing for stays as it is.
    call.mix(("single", 5), torch.randn(1, 3, 8, 4), None, 2, mixed)
    assert torch.equal(call.behind(stream, text_rows=2), stream)


def test_a_file_without_one_of_its_attentions_is_refused(tmp_path: Path) -> None:
    damaged = state()
    del damaged["pulid_ca.19.to_kv.weight"]
    save_file(damaged, tmp_path / "pulid.safetensors")
    with pytest.raises(ValueError, match="1 tensors are missing, such as attention.layers.19"):
        read_adapter(tmp_path / "pulid.safetensors", head=HEAD)
