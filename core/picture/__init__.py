"""What is done to pictures without a model: previews, fills, cut-outs, the window that is worked on, paste and verdict."""
