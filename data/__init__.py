"""The training set: the corpus, composed messages and preference pairs, the doctor's checks, the coverage table."""
