"""Fold the adapter into the 16-bit base, quantize the result to AWQ, and prove that neither step lost anything."""
