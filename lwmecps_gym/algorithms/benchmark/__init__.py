"""The comparison of all policies by one command: cases, runs that are kept, and the table."""
