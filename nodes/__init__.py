"""Dragfield's ComfyUI nodes: thin classes here, one per file; what they know of ComfyUI's internals is in `host`."""
