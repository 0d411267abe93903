"""Data: where images come from (sources), and the pipeline that makes batches of them."""
