"""A run as one HTML page: self-contained, so it needs no network, no server and no scripts."""
