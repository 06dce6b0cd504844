"""What an edit gives up when memory is short changes none of its results, and running out of it once is no error."""

from __future__ import annotations

from dataclasses import replace

import comfy.model_management
import numpy as np
import pytest
import torch

from dragfield.benchmarks.cost import peak_memory
from dragfield.core.field import DragField
from dragfield.core.instruction.operations import Drag, RegionOperation
from dragfield.core.model.attention import KVBank, choose_blocks
from dragfield.core.model.taps import default_taps
from dragfield.core.optimise.map_reading import TILE
from dragfield.core.optimise.region_drag import RegionDragSettings, region_drag
from dragfield.core.optimise.supervision import RegionLoss
from dragfield.core.sampling.inversion import InversionSettings
from dragfield.core.sampling.sampler import FlowSampler
from dragfield.nodes.host.bank_on_host import SentBlocks, device_bytes, move_to_host, sent_ahead
from dragfield.nodes.host.comfy_transformer import ComfyTransformer
from dragfield.nodes.host.memory import KEPT_BY_MAP, PLANS, SHARE, Walk, activation_bytes, choose, read_saving
from dragfield.nodes.host.out_of_memory import OutOfMemory, free_everything, is_out_of_memory, with_one_retry

WALK = Walk(tokens=4608, width=3072, double=19, single=0, dtype=torch.bfloat16, maps=1)
SETTINGS = RegionDragSettings(transport_steps=2, intensify_steps=1)
PLACES = ("comfy.ldm.flux.layers.attention", "dragfield.nodes.host.gradients._is_there")


@pytest.fixture
def make_flux(make_flux):
    """As loaders make a MODEL: in inference mode, so that its weights have to be fetched for the backward pass."""

    def make(**kwargs):
        with torch.inference_mode():
            return make_flux(**kwargs)

    return make


def dragged(backbone, latent, prompt):
    mask = np.zeros((64, 96), bool)
    mask[16:40, 16:48] = True
    field = DragField.from_drag(Drag((96, 64), (RegionOperation(mask, "relocation", target=(60.0, 36.0)),)))
    with torch.inference_mode(), backbone.session():
        bank = KVBank(choose_blocks("all", 2, 2))
        with torch.no_grad():
            backbone.velocity(latent, 0.6, prompt, kv=bank.capture())
        *_, last = region_drag(
            FlowSampler(backbone, prompt, SETTINGS.guidance, backbone.keep(bank).hold()), latent, 0.6, field, None, SETTINGS
        )
        return last.z


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_every_plan_drags_alike(make_flux, latent, prompt, plan):
    wanted = dragged(ComfyTransformer(make_flux(), save_memory="off"), latent, prompt)
    assert torch.allclose(dragged(ComfyTransformer(make_flux(), save_memory=plan), latent, prompt), wanted, atol=1e-6)


def test_plans_are_chosen_by_what_is_free():
    full, lean = (activation_bytes(WALK, plan) for plan in (PLANS[0], PLANS[2]))
    assert full > 4 * lean > 8 * activation_bytes(WALK, PLANS[-1]) > 0
    assert choose(WALK, 2 * full) == PLANS[0]
    assert choose(WALK, full // 2, bank_bytes=full) == PLANS[1]
    assert choose(WALK, full // 2) == choose(WALK, 2 * lean) == PLANS[2]
    assert choose(WALK, lean // 2) == choose(WALK, -1) == PLANS[-1]


@pytest.mark.parametrize("reference_grid", ["cells", "tokens"])
def test_what_is_reserved_for_a_loss_suffices_for_a_region_as_large_as_the_picture(reference_grid):
    size, patch, dtype = 512, 2, torch.bfloat16
    mask = np.zeros((size, size), bool)
    mask[: size - 16, : size - 16] = True
    field = DragField.from_drag(Drag((size, size), (RegionOperation(mask, "relocation", target=(280.0, 270.0)),)))
    cells, width = size // 8, 256
    reference = torch.randn(1, width, cells // patch, cells // patch, dtype=dtype)
    finer = [torch.randn(1, width, cells, cells, dtype=dtype)] if reference_grid == "cells" else None
    own = torch.randn_like(reference).requires_grad_()

    def work():
        loss = RegionLoss(field, [reference], (cells, cells), finer=finer)
        for progress in (0.5, 1.0):
            torch.autograd.grad(loss([own], progress).sum(), own)

    held = reference.nbytes + own.nbytes + (finer[0].nbytes if finer else 0)
    # Tables of where to read don't grow with the width; at this small one they count.
    tables = 2 * 4 * mask.sum() // 64 * 4 * TILE
    assert peak_memory(work, own.device) + held <= KEPT_BY_MAP * own.nbytes + tables


def test_the_user_s_word_counts_more_than_what_is_free():
    assert choose(WALK, 0, saving="off") == PLANS[0] and choose(WALK, 10**15, saving="on") == PLANS[2]
    assert [read_saving(value) for value in ("auto", "off", "on", True, False)] == ["auto", "off", "on", "on", "auto"]
    with pytest.raises(ValueError, match="use 'auto'"):
        read_saving("sometimes")


def told(monkeypatch, free, model, reserved=0):
    """Have ComfyUI believe that so many bytes are free in RAM, and on its device beside the model, which isn't there yet.

    reserved: how many of them it leaves to others.
    """

    def get(dev=None, torch_free_too=False):
        has = free if dev is None or dev.type == "cpu" else free + model.model_size()
        return (has, has) if torch_free_too else has

    monkeypatch.setattr("comfy.model_management.get_free_memory", get)
    monkeypatch.setattr("comfy.model_management.extra_reserved_memory", lambda: reserved)


def test_a_backbone_looks_at_what_is_free_and_asks_comfyui_for_what_it_needs(make_flux, latent, prompt, monkeypatch):
    asked, walk = [], Walk(24 + 5, 32, 2, 0, torch.float32, len(default_taps(2)))
    load = comfy.model_management.load_models_gpu

    def loading(models, memory_required=0, minimum_memory_required=None, **kwargs):
        asked.append(memory_required)
        return load(models, memory_required=memory_required, minimum_memory_required=minimum_memory_required, **kwargs)

    monkeypatch.setattr("comfy.model_management.load_models_gpu", loading)
    for free, plan in ((10**12, PLANS[0]), (activation_bytes(walk, PLANS[0]), PLANS[2]), (1, PLANS[-1])):
        model = make_flux()
        told(monkeypatch, free, model)
        backbone = ComfyTransformer(model)
        dragged(backbone, latent, prompt)
        assert backbone.budget.plan == plan
        ordinary = backbone._patcher.model.memory_required([2, *latent.shape[1:]])
        assert max(asked) == max(ordinary, activation_bytes(walk, plan))
        asked.clear()


def test_whatever_plan_is_chosen_for_want_of_room_leaves_the_whole_model_on_the_device(make_flux, latent, prompt, monkeypatch):
    """What is asked of ComfyUI for it is no more than it was chosen for; what others shall have (--reserve-vram) counts too."""
    asked, reserved = [], 10_000 if comfy.model_management.get_torch_device().type != "cpu" else 0
    load = comfy.model_management.load_models_gpu

    def loading(models, memory_required=0, minimum_memory_required=None, **kwargs):
        asked.append((memory_required, minimum_memory_required))
        return load(models, memory_required=memory_required, minimum_memory_required=minimum_memory_required, **kwargs)

    monkeypatch.setattr("comfy.model_management.load_models_gpu", loading)
    walk, chosen = Walk(24 + 5, 32, 2, 0, torch.float32, len(default_taps(2))), set()
    for plan in PLANS[:-1]:
        model, free = make_flux(), reserved + int(activation_bytes(walk, plan) / SHARE) + 1
        model.model.memory_usage_factor = 0.0
        told(monkeypatch, free, model, reserved)
        backbone = ComfyTransformer(model)
        dragged(backbone, latent, prompt)
        chosen.add(backbone.budget.plan)
        assert max(minimum for _, minimum in asked) <= max(wanted for wanted, _ in asked) <= free - reserved
        asked.clear()
    assert chosen == {PLANS[0], PLANS[2]}


def test_a_bank_is_made_where_there_is_room_for_it(make_flux, latent, monkeypatch):
    settings = InversionSettings(kv_blocks="all")
    size = 2 * 20 * 4 * 24 * 32 * 4
    cases = ((4 * size, "auto", "device"), (3 * size, "auto", "cpu"), (10**12, "on", "cpu"), (0, "off", "device"))
    for free, saving, place in cases:
        model = make_flux()
        told(monkeypatch, free, model)
        assert ComfyTransformer(model, save_memory=saving).remembering(latent, settings, 20).kv_placement == place


def test_a_bank_that_ram_does_not_hold_takes_a_byte_a_number_or_is_refused(make_flux, latent, prompt, monkeypatch):
    settings, model = InversionSettings(kv_blocks="all"), make_flux()
    backbone = ComfyTransformer(model)
    count = 2 * 20 * 4 * 24 * 32
    for free, dtype in ((5 * count, None), (4 * count, torch.float8_e4m3fn), (1.2 * count, torch.float8_e4m3fn)):
        told(monkeypatch, free, model)
        assert backbone.remembering(latent, settings, 20, "cpu").kv_dtype == dtype
    told(monkeypatch, count, model)
    with pytest.raises(ValueError, match=r"even at one byte a number.*remember fewer blocks"):
        backbone.remembering(latent, settings, 20, "cpu")
    assert backbone.remembering(latent, settings, 20, "device") == replace(settings, kv_placement="device")
    bank = KVBank(choose_blocks("all", 2, 2), dtype=torch.float8_e4m3fn)
    v = backbone.velocity(latent, 0.6, prompt, kv=bank.capture())
    off = (backbone.velocity(latent, 0.6, prompt, kv=bank.hold()) - v).abs().max() / v.abs().max()
    assert 0 < off < 0.1 and bank.nbytes == count / 20


class OutAt:
    """Makes the nth call of something fail as an allocation does, once or always."""

    def __init__(self, monkeypatch, target: str, call: int, *, always: bool = False) -> None:
        import importlib

        module, name = target.rsplit(".", 1)
        function, self.calls, self.raised = getattr(importlib.import_module(module), name), 0, 0

        def failing(*args, **kwargs):
            self.calls += 1
            if self.calls == call or (always and self.calls > call):
                self.raised += 1
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return function(*args, **kwargs)

        monkeypatch.setattr(target, failing)


@pytest.mark.parametrize("call", [1, 2, 9])
@pytest.mark.parametrize("where", PLACES, ids=["forward", "backward"])
def test_running_out_once_is_followed_by_one_lean_try_with_the_same_result(make_flux, latent, prompt, monkeypatch, where, call):
    wanted = dragged(ComfyTransformer(make_flux()), latent, prompt)
    backbone, tries = ComfyTransformer(make_flux()), []

    def work():
        tries.append(backbone.budget.plan)
        return dragged(backbone, latent, prompt)

    out = OutAt(monkeypatch, where, call)
    assert torch.allclose(with_one_retry(backbone, work), wanted, atol=1e-6)
    assert (out.raised, tries) == (1, [PLANS[0], PLANS[-1]])


def test_what_is_freed_in_a_session_is_still_of_use_afterwards(make_flux, latent, prompt):
    with torch.inference_mode():
        model = make_flux()
        backbone = ComfyTransformer(model)
        with backbone.session():
            before = backbone.velocity(latent, 0.6, prompt)
            free_everything()
            # What the host itself would do with it then, wherever it is now.
            layer = model.model.diffusion_model.img_in
            with torch.inference_mode():
                layer(torch.zeros(1, layer.in_features, dtype=layer.weight.dtype, device=layer.weight.device))
            assert torch.equal(backbone.velocity(latent, 0.6, prompt), before)


def test_running_out_twice_ends_in_one_sentence_of_advice(make_flux, latent, prompt, monkeypatch):
    backbone, tries = ComfyTransformer(make_flux()), []
    out = OutAt(monkeypatch, "dragfield.nodes.host.gradients._is_there", 1, always=True)
    with pytest.raises(OutOfMemory) as caught:
        with_one_retry(backbone, lambda: tries.append(1) or dragged(backbone, latent, prompt))
    sentence = str(caught.value)
    assert len(tries) == out.raised == 2 and caught.value.__context__ is None
    assert "lower work_size" in sentence and "GB are free" in sentence and "\n" not in sentence and ". " not in sentence


def test_who_wants_no_memory_saved_is_told_of_it(make_flux, latent, prompt, monkeypatch):
    backbone = ComfyTransformer(make_flux(), save_memory="off")
    OutAt(monkeypatch, "dragfield.nodes.host.gradients._is_there", 1, always=True)
    with pytest.raises(OutOfMemory, match="set save_memory to 'auto'"):
        with_one_retry(backbone, lambda: dragged(backbone, latent, prompt))
    assert backbone.budget.plan == PLANS[0]


def test_the_failed_try_leaves_nothing_behind(make_flux, latent, prompt, monkeypatch):
    import gc
    import weakref

    backbone, held = ComfyTransformer(make_flux()), []

    def work():
        big = torch.zeros(3)
        if not held:
            held.append(weakref.ref(big))
            raise torch.OutOfMemoryError("out of memory")
        # No collection between: what the failed try held must be gone by itself before the second one starts.
        assert held[0]() is None and backbone._patcher not in comfy.model_management.loaded_models()
        return "done"

    dragged(backbone, latent, prompt)
    monkeypatch.setattr(gc, "collect", lambda: 0)
    assert with_one_retry(backbone, work) == "done"


def test_other_errors_pass_unchanged(make_flux):
    calls = []

    def work():
        calls.append(1)
        raise ValueError("a word")

    with pytest.raises(ValueError, match="a word"):
        with_one_retry(ComfyTransformer(make_flux()), work)
    assert len(calls) == 1
    assert is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"))
    assert not is_out_of_memory(RuntimeError("shapes differ")) and not is_out_of_memory(ValueError("out of memory"))


class Sender:
    """Copies that tell when they start and when they are waited for."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def __call__(self, pair):
        name = f"{int(pair[0].flatten()[0])}"
        self.log.append(f"send {name}")
        return lambda: self.log.append(f"use {name}") or pair


def test_keys_and_values_travel_ahead_of_the_blocks_that_read_them():
    bank = KVBank(choose_blocks("all", 2, 1))
    for entry in range(2):
        call = bank.capture().begin(entry / 2)
        for i, block in enumerate((("double", 0), ("double", 1), ("single", 0))):
            hidden = torch.full((1, 2, 4), float(10 * entry + i))
            call.keys_values(block, hidden, lambda x: (x, x), 0)
    sender = Sender()
    ahead = sent_ahead(bank, torch.device("cpu"), sender)
    replay, hidden = ahead.replay("lifo"), torch.zeros(1, 2, 4)
    for _ in range(2):
        call = replay.begin(0.5)
        for block in bank.entries[0].blocks:
            keys, _ = call.keys_values(block, hidden, lambda x: (x, x), 0)
            assert keys.shape == hidden.shape
    assert sender.log == [
        "send 10", "send 11", "use 10", "send 12", "use 11", "send 0", "use 12",
        "send 1", "use 0", "send 2", "use 1", "use 2",
    ]  # fmt: skip
    assert isinstance(ahead.entries[0].blocks, SentBlocks) and ahead.nbytes == bank.nbytes and ("single", 5) not in ahead.entries[0].blocks


def test_a_bank_moved_to_the_host_keeps_its_bits_and_the_sessions_that_read_it(make_flux, latent, prompt):
    backbone = ComfyTransformer(make_flux())
    bank = KVBank(choose_blocks("all", 2, 2))
    backbone.velocity(latent, 0.6, prompt, kv=bank.capture())
    session, wanted = bank.hold(), backbone.velocity(latent, 0.5, prompt, kv=bank.hold())
    move_to_host(bank)
    assert device_bytes(bank) == 0 and torch.equal(backbone.velocity(latent, 0.5, prompt, kv=session), wanted)
    ahead = sent_ahead(bank, backbone.device, Sender())
    assert torch.equal(backbone.velocity(latent, 0.5, prompt, kv=ahead.hold()), wanted)
    assert (sent_ahead(bank, backbone.device) is bank) == (backbone.device.type == "cpu")
