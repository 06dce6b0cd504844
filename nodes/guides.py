"""Guidance on a wire: what else shall hold while an optimizer drags."""

from __future__ import annotations

from comfy_api.latest import io

from ..core.edits.guides import Guide

GuidanceType = io.Custom("DRAGFIELD_GUIDANCE")
"""Carries `Guides`."""
ReadoutHeadType = io.Custom("DRAGFIELD_READOUT_HEAD")
"""Carries a core ReadoutHead."""

Guides = tuple[Guide, ...]
