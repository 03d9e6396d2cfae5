"""Evaluation: serve what a run built, ask for the whole grid, count what is right, give a verdict, write a report."""
