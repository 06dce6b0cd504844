"""The walk between picture and noise, both ways: schedules, FireFlow and DDIM steps, inversions that serve many edits."""
