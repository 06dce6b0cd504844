"""What can't be dragged is refused in one sentence that says what to use instead."""

from __future__ import annotations

import comfy.model_base
import comfy.model_patcher
import comfy.supported_models
import pytest
import torch

from dragfield.nodes.host.autoencoder import ComfyAutoencoder
from dragfield.nodes.host.comfy_transformer import ComfyTransformer
from dragfield.nodes.host.comfy_unet import ComfyUNet
from dragfield.nodes.host.conditioning import ComfyConditioning, as_native
from dragfield.nodes.host.recognised_backbone import backbone_for

CPU = torch.device("cpu")


def refusal(patcher) -> str:
    with pytest.raises(ValueError) as caught:
        ComfyTransformer(patcher)
    sentence = str(caught.value)
    assert "\n" not in sentence and ". " not in sentence
    return sentence


def stable_diffusion():
    config = comfy.supported_models.SD15(
        {
            "image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 32, "num_res_blocks": [1, 1], "channel_mult": [1, 1],
            "dropout": 0, "use_checkpoint": False, "use_spatial_transformer": True, "legacy": False, "adm_in_channels": None,
            "transformer_depth": [0, 1], "transformer_depth_middle": 1, "transformer_depth_output": [0, 0, 1, 1], "context_dim": 16,
            "use_linear_in_transformer": False, "use_temporal_attention": False,
        }
    )  # fmt: skip
    config.set_inference_dtype(torch.float32, None)
    return comfy.model_patcher.CoreModelPatcher(comfy.model_base.BaseModel(config, device=CPU), CPU, CPU)


def test_another_architecture_is_told_what_it_lacks():
    sentence = refusal(stable_diffusion())
    assert "a Stable Diffusion model is no flow" in sentence and "FLUX.2-klein-4B" in sentence
    assert "begin with DDIM Invert" in sentence and "Point Drag Optimizer" in sentence


def test_a_flow_model_is_sent_to_the_inversion_that_takes_it(make_flux):
    with pytest.raises(ValueError, match="begin with FireFlow Invert, or use a Stable Diffusion"):
        ComfyUNet(make_flux())


def test_transformers_of_other_families_are_told_what_they_lack(make_flux):
    model = make_flux()
    model.model.diffusion_model = type("HiDreamImageTransformer2DModel", (torch.nn.Linear,), {})(2, 2)
    assert "HiDream gives its velocity here" in refusal(model) and backbone_for(model).level == 1


def test_something_that_is_no_model_is_told_so():
    assert "is no MODEL" in refusal(object())


def test_nunchaku_is_sent_to_fp8_or_gguf(make_flux):
    model = make_flux()
    model.model.diffusion_model = type("ComfyFluxWrapper", (torch.nn.Module,), {})()
    sentence = refusal(model)
    assert "nunchaku" in sentence and "GGUF" in sentence


def test_a_compiled_model_is_sent_to_before_the_compile_node(make_flux):
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    wrapped = make_flux().clone()
    set_torch_compile_wrapper(wrapped, backend="eager")
    assert "before the compile node" in refusal(wrapped)
    swapped = make_flux().clone()
    swapped.add_object_patch("diffusion_model", torch.compile(swapped.model.diffusion_model, backend="eager"))
    assert "before the compile node" in refusal(swapped)
    inside = make_flux()
    inside.model.diffusion_model.double_blocks[0].compile(backend="eager")
    assert "before the compile node" in refusal(inside)


def test_another_sampling_than_flow_is_refused(make_flux):
    import comfy.model_sampling

    class Patched(comfy.model_sampling.ModelSamplingDiscrete, comfy.model_sampling.EPS):
        pass

    model = make_flux().clone()
    model.add_object_patch("model_sampling", Patched(model.model.model_config))
    assert "ModelSampling" in refusal(model)


def message(call) -> str:
    with pytest.raises(ValueError) as caught:
        call()
    return str(caught.value)


def test_latents_that_do_not_fit_are_refused(make_flux, prompt):
    host = ComfyTransformer(make_flux())
    assert "[B, 16, h, w], got [1, 4, 8, 8]" in message(lambda: host.velocity(torch.zeros(1, 4, 8, 8), 0.5, prompt))
    assert "NaN" in message(lambda: host.velocity(torch.full((1, 16, 8, 8), float("nan")), 0.5, prompt))


def test_a_missing_or_foreign_vae_is_refused(make_flux):
    assert "there is no VAE" in message(lambda: ComfyAutoencoder(None, make_flux()))
    foreign = type("VAE", (), {"latent_channels": 4})()
    assert "4 channels, the MODEL takes 16" in message(lambda: ComfyAutoencoder(foreign, make_flux()))


def test_an_empty_conditioning_is_refused():
    assert "CLIP Text Encode" in message(lambda: ComfyConditioning([]))


def test_features_of_several_prompts_are_refused(make_flux, prompt, latent):
    from dragfield.core.model.taps import default_taps

    host, two = ComfyTransformer(make_flux()), ComfyConditioning([*as_native(prompt).positive] * 2)
    assert "single prompt" in message(lambda: host.features(latent, 0.5, two, taps=default_taps(2)))
