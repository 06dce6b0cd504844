"""Metrics of an edit, as the drag papers define them: what is judged, one file a family of metrics, and the table of all (`table.py`)."""
