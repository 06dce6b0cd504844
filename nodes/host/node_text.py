"""A line of text on a node while it runs."""

from __future__ import annotations

from server import PromptServer


def show_text(text: str, node_id: str | None) -> None:
    """Show `text` on the node; nothing happens where no server runs."""
    server = getattr(PromptServer, "instance", None)
    if server is not None and node_id is not None and server.client_id is not None:
        server.send_progress_text(text, node_id)
