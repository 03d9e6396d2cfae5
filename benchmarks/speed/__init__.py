"""The line against the original's design and against llama.cpp, on one machine, in one run: `make bench`."""
