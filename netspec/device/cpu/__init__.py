"""CPU devices: a team of threads, each with its share of the cores."""
