"""Whole edits, each a page of composition: dragflow, directdrag, dragfield, and their presets."""
