"""The methods: torch, numpy and opencv only; knows neither ComfyUI nor (at import time) diffusers."""
