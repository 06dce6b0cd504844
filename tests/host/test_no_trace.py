"""After whatever an edit does to a MODEL, cancelled and failed ones included, an ordinary sampling run gives the same bits."""

from __future__ import annotations

import gc

import comfy.model_management
import pytest
import torch

import nodes
from dragfield.core.model.attention import KVBank, choose_blocks
from dragfield.core.model.taps import default_taps
from dragfield.core.progress import RunContext
from dragfield.core.sampling.inversion import InversionSettings, invert
from dragfield.nodes.host.comfy_transformer import ComfyTransformer
from dragfield.nodes.host.conditioning import as_native
from dragfield.nodes.host.demo_model import make_model
from dragfield.nodes.host.memory import PLANS
from dragfield.nodes.host.out_of_memory import OutOfMemory, with_one_retry
from dragfield.nodes.host.out_of_place import Stream
from dragfield.nodes.host.progress import ComfyProgress

TAPS = default_taps(2)


@pytest.fixture
def make_flux(make_flux):
    """As loaders make a MODEL: in inference mode, so that its weights have to be fetched for the backward pass."""

    def make(**kwargs):
        with torch.inference_mode():
            return make_flux(**kwargs)

    return make


def sampled(model, prompt, latent):
    """What a KSampler node gives."""
    entries = as_native(prompt).positive
    with torch.inference_mode():
        (out,) = nodes.KSampler().sample(model, 7, 3, 1.0, "euler", "simple", entries, entries, {"samples": torch.zeros_like(latent)}, 1.0)
    return out["samples"].clone()


def state(model):
    """Everything of a MODEL and of ComfyUI that an edit touches for a while."""
    network = model.model.diffusion_model
    modules = list(network.modules())
    return {
        "forwards": [m.__dict__.get("forward") for m in modules],
        "hooks": [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in modules],
        "gradients": [p.requires_grad for p in network.parameters()],
        "options": repr(model.model_options),
        "objects": repr((model.object_patches, model.wrappers, model.callbacks, model.injections)),
        "patcher": model.model.current_patcher,
        "training": comfy.model_management.in_training,
    }


def gradient(backbone, latent, prompt, kv=None):
    leaf = latent.clone().requires_grad_()
    with torch.enable_grad():
        features = backbone.features(leaf, 0.6, prompt, taps=TAPS, guidance=2.0, kv=kv)
        return torch.autograd.grad(sum(f.pow(2).sum() for f in features), leaf)[0]


def whole_run(backbone, latent, prompt, **kwargs):
    with backbone.session():
        inversion = invert(backbone, latent.to(backbone.device), prompt, InversionSettings(steps=3, skip=0), **kwargs)
        return gradient(backbone, inversion.z, prompt, backbone.keep(inversion.bank).hold())


@pytest.fixture(params=[PLANS[0], PLANS[2], PLANS[3]], ids=["kept", "checkpointed", "checkpoints on the host"])
def run(request, make_flux, prompt, latent):
    """A MODEL, its backbone, and a check that all is as it was."""
    model = make_flux()
    before, image = state(model), sampled(model, prompt, latent)

    def check():
        assert state(model) == before
        assert torch.equal(sampled(model, prompt, latent), image)

    return ComfyTransformer(model, save_memory=request.param), check


def test_an_ordinary_run_is_the_same_after_one_that_ended(run, latent, prompt):
    backbone, check = run
    whole_run(backbone, latent, prompt)
    check()


def test_an_ordinary_run_is_the_same_after_single_calls(run, latent, prompt):
    backbone, check = run
    bank = KVBank(choose_blocks("all", 2, 2))
    backbone.velocity(latent, 0.5, prompt, kv=bank.capture())
    backbone.velocity(latent, 0.5, prompt, kv=bank.hold())
    gradient(backbone, latent, prompt)
    check()


@pytest.mark.parametrize("calls", [1, 5, 30, 60])
def test_an_ordinary_run_is_the_same_after_one_cancelled_inside_a_layer(run, latent, prompt, calls, monkeypatch):
    backbone, check = run
    layers = [m for m in backbone._network.modules() if hasattr(m, "in_features")]
    seen = []

    def cancel(*_):
        seen.append(1)
        if len(seen) == calls:
            comfy.model_management.interrupt_current_processing()

    hooks = [layer.register_forward_pre_hook(cancel) for layer in layers]
    try:
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            for _ in range(3):
                gradient(backbone, latent, prompt)
    finally:
        for hook in hooks:
            hook.remove()
    check()


def test_an_edit_cancelled_between_its_steps_ends_as_any_node_does(run, latent, prompt):
    backbone, check = run
    progress = ComfyProgress(backbone._patcher)

    def report(step):
        progress(step)
        if step.done == 2:
            comfy.model_management.interrupt_current_processing()

    with pytest.raises(comfy.model_management.InterruptProcessingException):
        whole_run(backbone, latent, prompt, run=RunContext(report, progress.stop_if_cancelled))
    check()


@pytest.mark.parametrize("where", ["inside a block", "in the backward pass"])
def test_an_ordinary_run_is_the_same_after_an_error(run, latent, prompt, where, monkeypatch):
    backbone, check = run
    with monkeypatch.context() as patch:
        if where == "inside a block":
            patch.setattr("comfy.ldm.flux.layers.attention", lambda *_, **__: torch.zeros(1).view(2))
        else:
            patch.setattr("dragfield.nodes.host.gradients._is_there", lambda *_: torch.zeros(1).view(2))
        with pytest.raises(RuntimeError, match="shape"):
            gradient(backbone, latent, prompt)
    check()


@pytest.mark.parametrize("times", [1, 2])
def test_an_ordinary_run_is_the_same_after_the_memory_ran_out(run, latent, prompt, times, monkeypatch):
    backbone, check = run
    failed = []

    def out_of_memory(*_):
        if len(failed) < times:
            failed.append(1)
            raise torch.OutOfMemoryError("out of memory")
        return False

    with monkeypatch.context() as patch:
        patch.setattr("dragfield.nodes.host.gradients._is_there", out_of_memory)
        if times == 1:
            with_one_retry(backbone, lambda: whole_run(backbone, latent, prompt))
        else:
            with pytest.raises(OutOfMemory):
                with_one_retry(backbone, lambda: whole_run(backbone, latent, prompt))
    assert len(failed) == times
    check()


def test_parameters_that_take_a_gradient_take_it_again_afterwards(weights, tiny, latent, prompt):
    model = make_model(tiny, weights)
    before, image = state(model), sampled(model, prompt, latent)
    assert any(before["gradients"])
    whole_run(ComfyTransformer(model), latent, prompt)
    assert state(model) == before and torch.equal(sampled(model, prompt, latent), image)


def held() -> int:
    """Bytes of all tensors that anybody still has."""
    gc.collect()
    return sum(x.untyped_storage().nbytes() for x in gc.get_objects() if type(x) in (torch.Tensor, torch.nn.Parameter, Stream))


@pytest.mark.parametrize("ending", ["ended", "an error", "cancelled"])
def test_memory_comes_back(make_flux, latent, prompt, ending, monkeypatch):
    model = make_flux()
    whole_run(ComfyTransformer(model), latent, prompt)
    before = held()
    if ending == "ended":
        whole_run(ComfyTransformer(model), latent, prompt)
    else:
        errors = {"an error": RuntimeError("a word"), "cancelled": comfy.model_management.InterruptProcessingException()}
        with monkeypatch.context() as patch:
            patch.setattr("dragfield.nodes.host.gradients._is_there", lambda *_: raised(errors.pop(ending)))
            with pytest.raises((RuntimeError, comfy.model_management.InterruptProcessingException)):
                whole_run(ComfyTransformer(model), latent, prompt)
        del patch
    assert held() == before


def raised(error: BaseException) -> None:
    raise error


def test_nothing_that_arrives_is_written_to(make_flux, latent, prompt):
    model, entries = make_flux(), as_native(prompt).positive
    copies = [latent.clone(), entries[0][0].clone(), entries[0][1]["pooled_output"].clone()]
    whole_run(ComfyTransformer(model), latent, as_native(prompt))
    assert all(torch.equal(a, b) for a, b in zip(copies, [latent, entries[0][0], entries[0][1]["pooled_output"]], strict=True))
    assert set(entries[0][1]) == {"pooled_output"}


def test_the_patched_model_of_another_pack_is_honoured_and_left_alone(make_flux, latent, prompt):
    model, seen = make_flux(), []

    def attention(q, k, v, **kwargs):
        seen.append(kwargs["extra_options"]["block_index"])
        return {"v": v * 0.5}

    def block(args, extra):
        seen.append("block")
        return extra["original_block"](args)

    patched = model.clone()
    patched.set_model_attn1_patch(attention)
    patched.set_model_patch_replace(block, "dit", "double_block", TAPS[-1].index)
    plain, changed = (gradient(ComfyTransformer(m), latent, prompt) for m in (model, patched))
    assert "block" in seen and 0 in seen and not torch.allclose(plain, changed)
    options = patched.model_options["transformer_options"]
    assert options["patches"]["attn1_patch"] == [attention] and list(options["patches_replace"]["dit"].values()) == [block]
    assert "wrappers" not in options
