"""The contract suite: checks that every registered layer gets for its declarations and kernels."""
