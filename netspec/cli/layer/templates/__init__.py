"""What ``netspec layers new`` writes: a layer of each kind and its test, which are run as they stand here."""
