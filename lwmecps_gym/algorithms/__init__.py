"""Learning algorithms, heuristics and the policies that they make."""
