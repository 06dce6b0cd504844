"""The command line, `dragfield`: demo, edit, train, bench."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Entry point of the `dragfield` command. User mistakes end with one sentence and exit code 2."""
    # Models come from folders; what the libraries have to say about hubs and loading belongs in their logs.
    for name, value in {"DIFFUSERS_VERBOSITY": "error", "TRANSFORMERS_VERBOSITY": "error",
                        "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_OFFLINE": "1"}.items():  # fmt: skip
        os.environ.setdefault(name, value)
    try:
        from .app import app
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich"):
            raise
        print(f"dragfield: {error.name} is missing; run: pip install 'comfyui-dragfield[cli]'", file=sys.stderr)
        sys.exit(2)
    app(prog_name="dragfield")
