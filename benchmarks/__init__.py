"""Measuring sticks: suites that draw fresh cases, run methods side by side in one process and write JSON."""
