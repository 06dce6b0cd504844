# Everything runs in .venv, made on first use. A second call installs nothing and needs no network.
#   make demo    drag edits with the bundled model, into output/demo/
#   make test    all tests
#   make lint    ruff
#   make comfyui ComfyUI with the pack linked in: make comfyui COMFYUI_PATH=/path/to/ComfyUI
#   make test-comfyui  what runs in a real ComfyUI and its page, tested: make test-comfyui COMFYUI_PATH=/path/to/ComfyUI
# An installed torch is kept. Otherwise TORCH is installed: the CPU build from TORCH_INDEX if that answers, else what
# pip's own index has. For CUDA: make demo TORCH_INDEX=https://download.pytorch.org/whl/cu130
PYTHON ?= python3
VENV ?= .venv
VENV_FLAGS ?=
TORCH ?= torch==2.13.0
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check
STAMP := $(VENV)/.installed
ANSWERS := $(PYTHON) -c "import urllib.request as r; r.urlopen('$(TORCH_INDEX)/torch/', timeout=5)" 2>/dev/null

.PHONY: demo test lint comfyui test-comfyui clean
.DEFAULT_GOAL := demo

demo: $(STAMP)
	$(VENV)/bin/dragfield demo --output output/demo

test: $(STAMP)
	$(PY) -m pytest $(PYTEST_ARGS)

lint: $(STAMP)
	$(VENV)/bin/ruff check .

comfyui:
	@COMFYUI_PATH="$(COMFYUI_PATH)" $(PYTHON) scripts/comfyui.py $(COMFYUI_ARGS)

test-comfyui:
	@COMFYUI_PATH="$(COMFYUI_PATH)" $(PYTHON) scripts/test_comfyui.py $(PYTEST_ARGS)

clean:
	rm -rf $(VENV) .venv-comfyui build *.egg-info

$(STAMP): pyproject.toml
	@$(PIP) --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV_FLAGS) $(VENV)
	@echo "Installing into $(VENV); the first time this takes a few minutes."
	@$(PY) -c "import torch" 2>/dev/null || \
		$(PIP) install -q "$(TORCH)" $$($(ANSWERS) && echo --extra-index-url $(TORCH_INDEX))
	@$(PIP) install -q -e ".[dev]"
	@touch $@
