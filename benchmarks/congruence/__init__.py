"""The congruence benchmark on all corpora at hand; see `__main__`."""
