"""What a result is, when two results are the same work, and where each stands. Imports no torch."""
