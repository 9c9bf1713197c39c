"""Pure functions over text: no files, no network, no clock, no randomness.

Nothing here knows records, stages or models; every function gives the same result on every machine.
Heavy libraries (numpy, xxhash, ftfy, sympy, fasttext) are imported inside the functions that need them.
"""
