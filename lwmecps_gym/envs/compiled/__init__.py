"""The cluster model compiled to machine code: the same numbers, a hundred times faster.

The reference is NumPy code that reads like its equations: `simulator`, `performance`, `routing`,
`queueing`, `actions` and `encoding`. This package computes the same numbers, cluster by cluster, in
loops that Numba compiles, and does only the work that a step needs: it visits the nodes that host a
service, and remembers between steps what a step leaves as it was. Tests hold the two together.

Numba and its compiler are imported when the first compiled model is made, not before.
"""
