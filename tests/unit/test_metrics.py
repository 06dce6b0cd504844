"""Metrics of edits, each against a slow literal version on small random networks and on pairs whose answer is known."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dragfield.core.field.masks import adaptive_gradient_mask
from dragfield.core.instruction.operations import Drag, PointOperation, RegionOperation
from dragfield.core.metrics import dreamsim
from dragfield.core.metrics.backbones import Backbones
from dragfield.core.metrics.clip_similarity import clip_similarity, cropped
from dragfield.core.metrics.dai import dai, dai_published
from dragfield.core.metrics.dift import ENSEMBLE, TIMESTEP, Dift
from dragfield.core.metrics.judged import Judged, Operation, made_mask, operations_of
from dragfield.core.metrics.matching import mean_distance, normalised, similarity, within_mask
from dragfield.core.metrics.perceptual import LPIPS, background_fidelity, carried, fidelity, source_to_source, source_to_target
from dragfield.core.metrics.table import METRICS, chosen
from dragfield.core.model.backbone import Conditioning

SIZE = (96, 64)


def noise(seed: int = 0, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).random((size[1], size[0], 3), dtype=np.float32)


def shifted(picture: np.ndarray, dx: int, dy: int = 0) -> np.ndarray:
    return np.roll(picture, (dy, dx), (0, 1))


def points(*pairs: tuple[tuple[float, float], tuple[float, float]]) -> tuple[Operation, ...]:
    return tuple(Operation(*pair) for pair in pairs)


def judged(before: np.ndarray, after: np.ndarray, operations: tuple[Operation, ...] = (), mask: np.ndarray | None = None, **more) -> Judged:
    size = before.shape[1], before.shape[0]
    drag = Drag(size, (), tuple(PointOperation(o.start, o.target) for o in operations))
    return Judged(before, after, np.ones(before.shape[:2], bool) if mask is None else mask, operations, drag, **more)


def region(task: str = "relocation", target: tuple[float, float] = (56.5, 30.5), anchor: tuple[float, float] | None = None) -> Operation:
    mask = np.zeros(SIZE[::-1], bool)
    mask[20:36, 20:40] = True
    return Operation.of_region(RegionOperation(mask, task, target, anchor), (30.5, 28.5))


# Pixels


def test_pixels_are_compared_where_each_metric_says() -> None:
    before, mask = noise(), np.zeros(SIZE[::-1], bool)
    mask[10:30, 10:40] = True
    after = before.copy()
    after[mask] = 1 - after[mask]
    after[0, 0, 0] = before[0, 0, 0] + 0.5 / 255 * 4
    truth = np.where(mask[..., None], after, 0)
    take = {name: METRICS[name].measure(judged(before, after, mask=mask, truth=truth), Backbones()) for name in
            ("psnr_source", "psnr_background", "max_background", "psnr_truth", "ssim_truth")}  # fmt: skip
    assert take["psnr_source"] == pytest.approx(-10 * math.log10(float(((after - before) ** 2).mean())))
    assert take["psnr_background"] == pytest.approx(-10 * math.log10((2 / 255) ** 2 / ((~mask).sum() * 3)), abs=1e-3)
    assert take["max_background"] == 2 and take["psnr_truth"] == 100
    assert METRICS["psnr_truth"].measure(judged(before, after), Backbones()) is None
    assert METRICS["psnr_background"].measure(judged(before, after), Backbones()) is None


def test_psnr_and_ssim_are_those_of_torchmetrics() -> None:
    theirs = pytest.importorskip("torchmetrics.functional.image")
    before = noise()
    after = np.clip(before + 0.1 * noise(1), 0, 1)
    edit = judged(before, after)
    a, b = (torch.from_numpy(x).permute(2, 0, 1)[None] for x in (before, after))
    assert METRICS["psnr_source"].measure(edit, Backbones()) == pytest.approx(
        float(theirs.peak_signal_noise_ratio(b, a, data_range=1.0)), abs=1e-3
    )
    # Theirs counts in float32 with another order of sums, and cuts the border.
    whole = theirs.structural_similarity_index_measure(b, a, data_range=1.0, return_full_image=True)[1]
    ours = METRICS["ssim_source"].measure(edit, Backbones())
    assert ours == pytest.approx(float(whole.mean()), abs=2e-3)


def test_arrival_says_how_far_an_object_is_off() -> None:
    ground = np.full((*SIZE[::-1], 3), 0.5, np.float32) + 0.02 * noise(1)
    before, after = ground.copy(), ground.copy()
    before[20:36, 20:40], after[20:36, 40:60] = noise(2, (20, 16)), noise(2, (20, 16))
    mask = np.zeros(SIZE[::-1], bool)
    mask[20:36, 20:40] = True
    for target, off in (((50.0, 28.0), 0.0), ((46.0, 28.0), 4.0)):
        drag = Drag(SIZE, (RegionOperation(mask, "relocation", target),))
        found = METRICS["arrival"].measure(Judged(before, after, mask, (), drag), Backbones())
        assert found == [pytest.approx(off, abs=1.01)]


# LPIPS


@pytest.fixture(scope="module")
def alexnet(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("alexnet") / "alexnet.pth"
    made = LPIPS()
    features = {f"features.{name}": value for name, value in made.features.state_dict().items()}
    torch.save({**features, "classifier.1.weight": torch.ones(1)}, path)
    return path


@pytest.fixture(scope="module")
def heads(tmp_path_factory) -> Path:
    g = torch.Generator().manual_seed(1)
    path = tmp_path_factory.mktemp("heads") / "alex.pth"
    torch.save({f"lin{k}.model.1.weight": torch.rand(1, c, 1, 1, generator=g) for k, c in enumerate((64, 192, 384, 256, 256))}, path)
    return path


@pytest.fixture(scope="module")
def lpips(alexnet: Path, heads: Path) -> LPIPS:
    return LPIPS.load(alexnet, heads)


def literal_lpips(alexnet: Path, heads: Path, a: torch.Tensor, b: torch.Tensor) -> float:
    """Zhang et al.: layer by layer, place by place."""
    weights, lin = torch.load(alexnet, weights_only=True), torch.load(heads, weights_only=True)
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])

    def maps(picture: torch.Tensor) -> list[torch.Tensor]:
        x, found = (picture - shift[:, None, None]) / scale[:, None, None], []
        for index, stride, padding, pooled in ((0, 4, 2, False), (3, 1, 2, True), (6, 1, 1, True), (8, 1, 1, False), (10, 1, 1, False)):
            x = F.max_pool2d(x, 3, 2) if pooled else x
            x = F.conv2d(x, weights[f"features.{index}.weight"], weights[f"features.{index}.bias"], stride, padding).relu()
            found.append(x)
        return found

    total = 0.0
    for k, (one, other) in enumerate(zip(maps(a), maps(b), strict=True)):
        head, places = lin[f"lin{k}.model.1.weight"].flatten(), []
        for y in range(one.shape[2]):
            for x in range(one.shape[3]):
                u, v = one[0, :, y, x], other[0, :, y, x]
                u, v = u / (u.norm() + 1e-10), v / (v.norm() + 1e-10)
                places.append(float((head * (u - v) ** 2).sum()))
        total += sum(places) / len(places)
    return total


def test_lpips_is_the_literal_one(lpips: LPIPS, alexnet: Path, heads: Path) -> None:
    a, b = (torch.from_numpy(noise(seed)).permute(2, 0, 1)[None] * 2 - 1 for seed in (0, 1))
    assert lpips(a, b) == pytest.approx(literal_lpips(alexnet, heads, a, b), rel=1e-4)
    assert lpips(a, a) == 0


def test_lpips_is_that_of_torchmetrics(alexnet: Path, monkeypatch) -> None:
    theirs = pytest.importorskip("torchmetrics.functional.image.lpips")
    ours = LPIPS.load(alexnet)
    monkeypatch.setattr(theirs, "_get_tv_model_features", lambda net, pretrained: ours.features)
    a, b = (torch.from_numpy(noise(seed)).permute(2, 0, 1)[None] * 2 - 1 for seed in (0, 1))
    assert ours(a, b) == pytest.approx(float(theirs._LPIPS(net="alex")(a, b)), rel=1e-4)


def test_files_that_are_not_lpips_are_refused(tmp_path: Path, alexnet: Path, heads: Path) -> None:
    for files, sentence in (
        ((heads, heads), "do not make LPIPS"), ((alexnet, alexnet), "do not make LPIPS"), ((tmp_path / "no", heads), "is no file"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=sentence):
            LPIPS.load(*files)
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(ValueError, match="is no state dict"):
        LPIPS.load(tmp_path / "text.pth", heads)


def in_224(picture: np.ndarray) -> torch.Tensor:
    signed = torch.from_numpy(picture).permute(2, 0, 1)[None] * 2 - 1
    return F.interpolate(signed, (224, 224), mode="bilinear")


def grey_outside(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.where(mask[..., None], picture, np.float32(0.5))


def test_fidelities_are_one_less_lpips_of_what_they_name(lpips: LPIPS) -> None:
    operation, before, after = region(), noise(), noise(1)
    mask = np.zeros(SIZE[::-1], bool)
    mask[16:50, 16:80] = True
    edit = judged(before, after, (operation,), mask)
    assert fidelity(edit, lpips) == pytest.approx(1 - lpips(in_224(before), in_224(after)), abs=1e-6)
    outside = [in_224(grey_outside(picture, ~mask)) for picture in (before, after)]
    assert background_fidelity(edit, lpips) == pytest.approx(1 - lpips(*outside), abs=1e-6)
    stayed = [in_224(grey_outside(picture, operation.source)) for picture in (before, after)]
    assert source_to_source(edit, lpips) == pytest.approx(1 - lpips(*stayed), abs=1e-6)
    # Carried by (26, 2): whole pixels, so that the literal version copies them one by one.
    moved = np.full_like(before, 0.5)
    for y in range(SIZE[1]):
        for x in range(SIZE[0]):
            if 0 <= x - 26 < SIZE[0] and 0 <= y - 2 < SIZE[1]:
                moved[y, x] = before[y - 2, x - 26]
    came = [in_224(grey_outside(picture, operation.moved)) for picture in (moved, after)]
    assert source_to_target(edit, lpips) == pytest.approx(1 - lpips(*came), abs=1e-6)


def test_an_object_that_came_and_one_that_stayed_are_told_apart(lpips: LPIPS) -> None:
    before, operation = noise(), region()
    came = np.where(operation.moved[..., None], shifted(before, 26, 2), before)
    assert source_to_target(judged(before, came, (operation,)), lpips) == pytest.approx(1, abs=1e-6)
    assert source_to_source(judged(before, before, (operation,)), lpips) == 1
    assert source_to_target(judged(before, before, (operation,)), lpips) < 0.9
    assert background_fidelity(judged(before, came, (operation,), operation.moved), lpips) == 1
    assert source_to_target(judged(before, came, points(((1, 1), (2, 2)))), lpips) is None


def test_a_turn_carries_as_published() -> None:
    """grid_sample with the published matrices against the same turn, on a picture that is not square."""
    operation = region("rotation", target=(20.5, 50.5), anchor=(30.5, 50.5))
    angle = -math.radians(operation.motion.angle)
    picture = torch.from_numpy(noise()).permute(2, 0, 1)[None]
    (w, h), (ax, ay) = SIZE, (30.5, 50.5)
    ys, xs = np.mgrid[:h, :w] + 0.5
    back_x = ax + math.cos(angle) * (xs - ax) - math.sin(angle) * (ys - ay)
    back_y = ay + math.sin(angle) * (xs - ax) + math.cos(angle) * (ys - ay)
    grid = torch.from_numpy(np.stack([2 * back_x / w - 1, 2 * back_y / h - 1], -1)).float()[None]
    assert torch.allclose(carried(picture, operation.motion), F.grid_sample(picture, grid, align_corners=False), atol=1e-4)
    assert operation.motion.angle == pytest.approx(-90, abs=1e-6)


# CLIP


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8, projection_dim=8
    )
    folder = tmp_path_factory.mktemp("clip")
    transformers.CLIPVisionModelWithProjection(config).save_pretrained(folder)
    return Backbones(clip=folder).clip_network


def test_clip_similarity_is_the_cosine_of_what_clip_makes_of_the_middle(clip) -> None:
    from PIL import Image

    embeds = []
    for seed in (0, 1):
        picture = Image.fromarray(np.rint(noise(seed) * 255).astype(np.uint8)).resize((48, 32), Image.Resampling.BICUBIC)
        pixels = np.asarray(picture, np.float64)[:, 8:40] / 255
        pixels = (pixels - (0.48145466, 0.4578275, 0.40821073)) / (0.26862954, 0.26130258, 0.27577711)
        with torch.no_grad():
            embeds.append(clip.model(pixel_values=torch.from_numpy(pixels).float().permute(2, 0, 1)[None]).image_embeds[0].double())
    wanted = float(embeds[0] @ embeds[1] / (embeds[0].norm() * embeds[1].norm()))
    assert clip_similarity(judged(noise(), noise(1)), clip, clip.side) == pytest.approx(wanted, abs=1e-5)
    assert clip_similarity(judged(noise(), noise()), clip, clip.side) == pytest.approx(1, abs=1e-6)
    assert cropped(noise(size=(40, 100)), 32).shape == (32, 32, 3)


# DreamSim


def random_dino(width: int, depth: int) -> dict[str, torch.Tensor]:
    """Weights in the names of DINO's own file."""
    g = torch.Generator().manual_seed(3)
    shapes = {"cls_token": (1, 1, width), "pos_embed": (1, 197, width), "patch_embed.proj.weight": (width, 3, 16, 16),
              "patch_embed.proj.bias": (width,), "norm.weight": (width,), "norm.bias": (width,)}  # fmt: skip
    for k in range(depth):
        of_block = {"norm1": (width,), "norm2": (width,), "attn.qkv": (3 * width, width), "attn.proj": (width, width),
                    "mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width)}  # fmt: skip
        for name, shape in of_block.items():
            shapes |= {f"blocks.{k}.{name}.weight": shape, f"blocks.{k}.{name}.bias": shape[:1]}
    return {name: torch.randn(shape, generator=g) * 0.2 for name, shape in shapes.items()}


def random_lora(state: dict[str, torch.Tensor], rank: int = 4) -> dict[str, torch.Tensor]:
    """Of every qkv, in peft's names."""
    g, made = torch.Generator().manual_seed(4), {}
    for name in state:
        if name.endswith("attn.qkv.weight"):
            full = "base_model.model.extractor_list.0.model." + name.removesuffix("weight")
            rows, columns = state[name].shape
            made[full + "lora_A.weight"] = torch.randn(rank, columns, generator=g)
            made[full + "lora_B.weight"] = torch.randn(rows, rank, generator=g)
    return made


@pytest.fixture(scope="module")
def dreamsim_folder(tmp_path_factory) -> Path:
    """As the library leaves it, with a network of two blocks."""
    folder = tmp_path_factory.mktemp("dreamsim")
    state = random_dino(128, 2)
    for sub in ("checkpoints", dreamsim.LORA):
        (folder / sub).mkdir()
    torch.save(state, folder / "checkpoints" / "dino_vitbase16_pretrain.pth")
    torch.save(random_lora(state), folder / dreamsim.LORA / "adapter_model.bin")
    (folder / dreamsim.LORA / "adapter_config.json").write_text('{"r": 4, "lora_alpha": 0.5, "target_modules": ["qkv"]}')
    return folder


def literal_dreamsim(folder: Path, picture: np.ndarray) -> np.ndarray:
    """The class token after the last block, head by head and the adapter beside its layer, in float64."""
    from PIL import Image

    w = {name: value.double().numpy() for name, value in torch.load(folder / "checkpoints" / "dino_vitbase16_pretrain.pth").items()}
    lora = {name: value.double().numpy() for name, value in torch.load(folder / dreamsim.LORA / "adapter_model.bin").items()}
    image = Image.fromarray(np.rint(picture * 255).astype(np.uint8)).resize((224, 224), Image.Resampling.BICUBIC)
    pixels = (np.asarray(image, np.float64) / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    tokens = [w["cls_token"][0, 0]]
    for row in range(14):
        for column in range(14):
            patch = pixels[row * 16 : row * 16 + 16, column * 16 : column * 16 + 16].transpose(2, 0, 1)
            tokens.append((w["patch_embed.proj.weight"] * patch).sum((1, 2, 3)) + w["patch_embed.proj.bias"])
    x = np.stack(tokens) + w["pos_embed"][0]

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-6)
        return x * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    for k in range(2):
        inner, name = norm(x, f"blocks.{k}.norm1"), f"blocks.{k}.attn.qkv"
        down, up = (lora[f"base_model.model.extractor_list.0.model.{name}.lora_{part}.weight"] for part in "AB")
        qkv = linear(inner, name) + 0.5 / 4 * inner @ down.T @ up.T
        heads = []
        for head in range(2):
            q, k_, v = (qkv[:, i * 128 + head * 64 : i * 128 + head * 64 + 64] for i in range(3))
            weights = np.exp(q @ k_.T / 8)
            heads.append(weights / weights.sum(1, keepdims=True) @ v)
        x = x + linear(np.concatenate(heads, 1), f"blocks.{k}.attn.proj")
        hidden = linear(norm(x, f"blocks.{k}.norm2"), f"blocks.{k}.mlp.fc1")
        erf = torch.erf(torch.from_numpy(hidden) / 2**0.5).numpy()
        x = x + linear(hidden * (1 + erf) / 2, f"blocks.{k}.mlp.fc2")
    return x[0] - x[0].mean()


def test_dreamsim_is_the_angle_of_two_class_tokens_of_dino_with_its_adapter(dreamsim_folder: Path) -> None:
    network = Backbones(dreamsim=dreamsim_folder).dreamsim_network
    one, other = (literal_dreamsim(dreamsim_folder, noise(seed)) for seed in (0, 1))
    wanted = 1 - one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    found = METRICS["dreamsim"].measure(judged(noise(), noise(1)), Backbones(dreamsim=dreamsim_folder))
    assert wanted > 1e-3 and found == pytest.approx(wanted, rel=1e-3)
    assert network.embedding(dreamsim.squared(noise()))[0].numpy() == pytest.approx(one, rel=1e-3, abs=1e-3)
    # The adapter counts: without it the distance is another one.
    bare = dreamsim.DreamSim(random_dino(128, 2))
    assert abs(dreamsim.dreamsim(judged(noise(), noise(1)), bare) - found) > 1e-3


def test_dreamsim_knows_equal_pictures_and_grows_with_what_changed(dreamsim_folder: Path) -> None:
    network = Backbones(dreamsim=dreamsim_folder).dreamsim_network
    before = noise()
    far = [dreamsim.dreamsim(judged(before, (1 - t) * before + t * noise(1)), network) for t in (0.0, 0.1, 0.3, 1.0)]
    assert far[0] == pytest.approx(0, abs=1e-6) and far == sorted(far)
    assert far[3] == pytest.approx(dreamsim.dreamsim(judged(noise(1), before), network), rel=1e-4)


def test_a_folder_that_does_not_make_dreamsim_is_refused(dreamsim_folder: Path, tmp_path: Path) -> None:
    import shutil

    with pytest.raises(ValueError, match="holds no checkpoints/dino_vitbase16_pretrain.pth: give the folder that the library dreamsim"):
        dreamsim.DreamSim.load(tmp_path)
    folder = shutil.copytree(dreamsim_folder, tmp_path / "copy")
    (folder / dreamsim.LORA / "adapter_config.json").write_text('{"r": 0, "lora_alpha": 0.5}')
    with pytest.raises(ValueError, match="do not make DreamSim's DINO ViT-B/16|division by zero"):
        dreamsim.DreamSim.load(folder)
    (folder / dreamsim.LORA / "adapter_config.json").write_text('{"r": 4, "lora_alpha": 0.5}')
    torch.save({"base_model.model.mlp.lora_A.weight": torch.ones(4, 4)}, folder / dreamsim.LORA / "adapter_model.bin")
    with pytest.raises(ValueError, match="do not make DreamSim's DINO ViT-B/16 .an adapter for base_model.model.mlp"):
        dreamsim.DreamSim.load(folder)
    torch.save({}, folder / dreamsim.LORA / "adapter_model.bin")
    with pytest.raises(ValueError, match="an adapter without weights"):
        dreamsim.DreamSim.load(folder)
    (folder / dreamsim.LORA / "adapter_model.bin").unlink()
    with pytest.raises(ValueError, match="holds no dino_vitb16_single_lora/adapter_model"):
        dreamsim.DreamSim.load(folder)


# DIFT and mean distance


@pytest.fixture(scope="module")
def dift() -> Dift:
    """A small random UNet and a random AutoencoderKL."""
    diffusers = pytest.importorskip("diffusers")
    from dragfield.core.backbones.model_folder import DiffusersAutoencoder
    from dragfield.core.backbones.unet import DiffusersUNet

    torch.manual_seed(0)
    unet = diffusers.UNet2DConditionModel(
        sample_size=8, block_out_channels=(16, 32, 32), layers_per_block=1, cross_attention_dim=16, norm_num_groups=8, attention_head_dim=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 8, 8, 8), latent_channels=4, norm_num_groups=4, down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip
    g = torch.Generator().manual_seed(3)
    words = {text: Conditioning(torch.randn(1, 7, 16, generator=g)) for text in ("", "a fox")}
    return Dift(DiffusersUNet(unet), DiffusersAutoencoder(vae), words)


def literal_features(dift: Dift, picture: np.ndarray, draw: torch.Generator, prompt: str, sampled: bool) -> torch.Tensor:
    """One noise after the other through the whole model, the map read on the way."""
    model, vae, found = dift.backbone.model, dift.autoencoder.vae, []
    hook = model.up_blocks[1].register_forward_hook(lambda module, args, out: found.append(out))
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    kept = float(torch.cumprod(1 - betas, 0)[TIMESTEP])
    image = torch.from_numpy(picture).permute(2, 0, 1)[None] * 2 - 1
    with torch.no_grad():
        told = vae.encode(image).latent_dist
        for _ in range(ENSEMBLE):
            z = told.mean + told.std * torch.randn(told.mean.shape, generator=draw) if sampled else told.mode()
            z = z * vae.config.scaling_factor
            z = math.sqrt(kept) * z + math.sqrt(1 - kept) * torch.randn(z.shape, generator=draw)
            model(z, torch.tensor(TIMESTEP), dift.words[prompt].txt)
    hook.remove()
    return torch.stack(found).mean(0)[0]


@pytest.mark.parametrize(("prompt", "sampled"), [("", True), ("a fox", True), ("", False)])
@pytest.mark.parametrize("size", [SIZE, (90, 70)])
def test_features_are_the_literal_ones_also_at_odd_sizes(dift: Dift, prompt: str, sampled: bool, size: tuple[int, int]) -> None:
    picture = noise(size=size)
    tensor = torch.from_numpy(picture).permute(2, 0, 1)[None]
    ours = dift.features(tensor, torch.Generator().manual_seed(5), prompt=prompt, sampled=sampled)
    wanted = literal_features(dift, picture, torch.Generator().manual_seed(5), prompt, sampled)
    assert torch.allclose(ours, wanted, atol=1e-5) and ours.shape[0] == 32


def literal_distances(dift: Dift, edit: Judged, where: np.ndarray | None) -> list[float]:
    """Features of every pixel, compared one by one."""
    draw = torch.Generator().manual_seed(edit.seed)
    prompt = edit.prompt if where is None else ""
    maps = [literal_features(dift, picture, draw, prompt, True) for picture in (edit.before, edit.after)]
    source, result = (F.interpolate(m[None], (SIZE[1], SIZE[0]), mode="bilinear")[0].double() for m in maps)
    found = []
    for operation in edit.operations:
        query, best, at = source[:, int(operation.start[1]), int(operation.start[0])], -2.0, (0, 0)
        for y in range(SIZE[1]):
            for x in range(SIZE[0]):
                if where is None or where[y, x]:
                    alike = float(query @ result[:, y, x] / (query.norm() * result[:, y, x].norm()))
                    best, at = (alike, (x, y)) if alike > best + 1e-9 else (best, at)
        found.append(math.hypot(operation.target[0] - 0.5 - at[0], operation.target[1] - 0.5 - at[1]))
    return found


def test_mean_distance_is_the_literal_one_over_the_picture_and_in_the_mask(dift: Dift) -> None:
    mask = np.zeros(SIZE[::-1], bool)
    mask[30:60, 10:50] = True
    edit = judged(noise(), shifted(noise(), 8, 4), points(((30.5, 20.5), (40.5, 28.5)), ((71.5, 11.5), (60.5, 50.5))), mask,
                  prompt="a fox", seed=9)  # fmt: skip
    assert mean_distance(edit, dift) == pytest.approx(literal_distances(dift, edit, None), abs=1e-6)
    assert within_mask(edit, dift) == pytest.approx(literal_distances(dift, edit, mask), abs=1e-6)


def test_normalised_distance_is_the_literal_one(dift: Dift) -> None:
    edit = judged(noise(), shifted(noise(), 8, 4), points(((30.5, 20.5), (40.5, 28.5)), ((71.5, 11.5), (73.5, 12.5))), seed=9)
    draw, maps = torch.Generator().manual_seed(9), []
    for picture in (edit.before, edit.after):
        rows, columns = (np.arange(768) * side // 768 for side in picture.shape[:2])
        maps.append(literal_features(dift, picture[rows][:, columns], draw, "", False).double())
    (w, h), (rows, columns) = SIZE, maps[0].shape[-2:]
    wanted = []
    for operation in edit.operations:
        (sx, sy), (tx, ty) = ((x - 0.5, y - 0.5) for x, y in (operation.start, operation.target))
        radius = max(5, math.hypot(sx - tx, sy - ty) / math.sqrt(2))
        query, best, at = maps[0][:, int(sy) * rows // h, int(sx) * columns // w], -2.0, (0, 0)
        for y in range(h):
            for x in range(w):
                if min(math.hypot(x - sx, y - sy), math.hypot(x - tx, y - ty)) < radius:
                    here = maps[1][:, y * rows // h, x * columns // w]
                    alike = float(query @ here / (query.norm() * here.norm()))
                    best, at = (alike, (x, y)) if alike > best + 1e-9 else (best, at)
        wanted.append(100 * math.hypot((tx - at[0]) / w, (ty - at[1]) / h))
    assert normalised(edit, dift) == pytest.approx(wanted, abs=1e-5)


class Plain:
    """Features that are the picture itself, blurred so that places between cells have some of their own."""

    def features(self, picture: torch.Tensor, noise: torch.Generator, **_) -> torch.Tensor:
        smooth = F.avg_pool2d(picture, 5, 1, 2, count_include_pad=False)[0] - 0.5
        return torch.cat([smooth, torch.roll(smooth, 3, 1), torch.roll(smooth, 3, 2)])


def test_a_shifted_picture_has_the_shift_as_its_mean_distance() -> None:
    size = (768, 768)
    before = noise(size=size)
    after = shifted(before, 12, 5)
    stays, arrives = ((300.5, 200.5), (300.5, 200.5)), ((300.5, 200.5), (312.5, 205.5))
    edit = judged(before, after, points(stays, arrives))
    assert mean_distance(edit, Plain()) == [13.0, 0.0] and within_mask(edit, Plain()) == [13.0, 0.0]
    assert normalised(judged(before, shifted(before, 3, 1), points(stays)), Plain()) == [
        pytest.approx(100 * math.hypot(3, 1) / 768, abs=1e-6)
    ]


def test_the_mask_and_the_discs_keep_the_search_in() -> None:
    before = noise(size=(768, 768))
    after = shifted(before, 40)
    mask = np.zeros((768, 768), bool)
    mask[190:210, 290:330] = True
    edit = judged(before, after, points(((300.5, 200.5), (310.5, 200.5))), mask)
    assert mean_distance(edit, Plain()) == [30.0]
    assert within_mask(edit, Plain())[0] <= math.hypot(20, 10)
    assert normalised(edit, Plain())[0] <= 100 * (10 + 10 / math.sqrt(2)) / 768


def test_similarity_is_that_of_maps_enlarged_whole() -> None:
    features = torch.randn(5, 7, 9, generator=torch.Generator().manual_seed(0))
    query = torch.randn(5, generator=torch.Generator().manual_seed(1))
    whole = F.interpolate(features[None], (SIZE[1], SIZE[0]), mode="bilinear")[0]
    wanted = F.cosine_similarity(query[:, None, None], whole, dim=0)
    assert np.allclose(similarity(query, features, SIZE), wanted.numpy(), atol=1e-5)


def test_the_bundled_network_finds_what_was_shifted() -> None:
    """A picture of large shapes, moved by 32 px: the matched place is nearer to where it went than to where it was."""
    pytest.importorskip("diffusers")
    from dragfield.core.demo.cases import sample_cases
    from dragfield.core.demo.unet import WEIGHTS

    case = next(iter(sample_cases(1, 3)))
    before = case.source
    ys, xs = np.nonzero(case.region)
    start = (float(xs.mean()) // 1 + 0.5, float(ys.mean()) // 1 + 0.5)
    step = 32 if start[0] < before.shape[1] / 2 else -32
    edit = judged(before, shifted(before, step), points((start, (start[0] + step, start[1]))))
    assert mean_distance(edit, Dift.load(WEIGHTS))[0] < 16


def test_the_noise_is_of_the_sample_alone(dift: Dift) -> None:
    edit = judged(noise(), noise(1), points(((30.5, 20.5), (40.5, 28.5))), seed=1)
    first = dift.features(torch.from_numpy(noise()).permute(2, 0, 1)[None], torch.Generator().manual_seed(1))
    mean_distance(edit, dift)
    again = dift.features(torch.from_numpy(noise()).permute(2, 0, 1)[None], torch.Generator().manual_seed(1))
    assert torch.equal(first, again)


# DAI


def test_dai_is_the_literal_sum_and_its_published_form_divides_twice() -> None:
    before, after = noise(), noise(1)
    pairs = (((30.5, 30.5), (50.5, 32.5)), ((60.5, 40.5), (40.5, 30.5)))
    edit = judged(before, after, points(*pairs))
    for radius in (1, 5, 10):
        total = 0.0
        for (sx, sy), (tx, ty) in pairs:
            for v in range(-radius, radius + 1):
                for u in range(-radius, radius + 1):
                    for c in range(3):
                        total += (float(before[int(sy) + v, int(sx) + u, c]) - float(after[int(ty) + v, int(tx) + u, c])) ** 2
        wanted = total / 2 / (2 * radius + 1) ** 2
        assert dai(edit, radius) == pytest.approx(wanted) and dai_published(edit, radius) == pytest.approx(wanted / 2)


def test_dai_of_a_shifted_picture_is_nothing_at_its_shift() -> None:
    before = noise()
    edit = judged(before, shifted(before, 20, 3), points(((40.5, 30.5), (60.5, 33.5))))
    assert dai(edit, 10) == 0 and dai(judged(before, before, edit.operations), 10) > 0.1


def test_patches_beyond_the_edge_are_left_out() -> None:
    both = points(((3.5, 3.5), (40.5, 30.5)), ((40.5, 30.5), (40.5, 30.5)))
    edit = judged(noise(), noise(), both)
    assert dai(edit, 10) == 0 and dai(judged(noise(), noise(), both[:1]), 10) is None


# The table


def test_every_metric_says_which_direction_is_better_and_needs_what_can_be_named() -> None:
    assert all(metric.name == name and Backbones().has("") for name, metric in METRICS.items())
    assert {metric.needs for metric in METRICS.values()} == {"", "lpips", "clip", "dift", "dreamsim", "judge"}
    assert chosen((), Backbones()) == tuple(name for name, metric in METRICS.items() if not metric.needs)
    with pytest.raises(ValueError, match="metric md needs a network: name it by --dift"):
        chosen(("md",), Backbones())


def test_an_encoder_that_is_there_already_is_taken_as_it_is(clip) -> None:
    edit = judged(noise(), noise(1))
    assert METRICS["clip"].measure(edit, Backbones(clip=clip)) == clip_similarity(edit, clip, clip.side)
    Backbones(clip=clip).check()


def test_operations_are_regions_from_their_centroids_and_points_but_no_pins() -> None:
    mask = region().source
    drag = Drag(SIZE, (RegionOperation(mask, "pin"), RegionOperation(mask, "relocation", (56.5, 30.5))), (PointOperation((1, 2), (3, 4)),))
    carried_region, point = operations_of(drag)
    assert (carried_region.start, carried_region.target) == ((30.0, 28.0), (56.5, 30.5)) and carried_region.motion.shift == (26.5, 2.5)
    assert (point.start, point.target, point.motion) == ((1, 2), (3, 4), None)


def test_a_mask_is_made_where_none_is_given() -> None:
    drag = Drag(SIZE, (RegionOperation(region().source, "relocation", (56.5, 30.5)),))
    made, given = made_mask(drag, None)
    assert not given and np.array_equal(made, adaptive_gradient_mask(drag))
    own = np.ones(SIZE[::-1], bool)
    assert made_mask(drag, own) == (own, True)


def test_networks_that_are_not_there_are_refused(tmp_path: Path) -> None:
    for name, sentence in (("lpips", "--lpips .* is no file"), ("clip", "--clip .* is no folder with config.json"),
                           ("dift", "--dift .* is no folder with unet/config.json"),
                           ("dreamsim", "--dreamsim .* is no folder with dino_vitb16_single_lora/adapter_config.json")):  # fmt: skip
        with pytest.raises(ValueError, match=sentence):
            Backbones(**{name: tmp_path / "nowhere"}).check()


def test_a_result_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="scale the result"):
        judged(noise(), noise(size=(48, 32)))
