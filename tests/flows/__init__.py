"""Which modules of certagent a reader has to open to follow one flow: counted on the lab by a profiler."""
