"""What is learned on the user's machine: readout heads, and a LoRA of a single picture."""
