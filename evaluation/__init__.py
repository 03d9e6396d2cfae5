"""Evaluation: serve a run's checkpoints, ask for the whole grid, score the answers, give a verdict, write a report."""
