"""Whole data sets edited and judged: `dataset.py` reads them, `run.py` edits and judges each sample, `report.py` shows what came of it."""
