"""Subject adapters: a picture's subject fed into every block, so that inversion and edits keep its identity (DragFlow 3.3)."""
