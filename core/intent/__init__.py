"""What the user means by a drag: task tags and prompts, by a multimodal language model or by geometry alone (DragFlow D.3)."""
