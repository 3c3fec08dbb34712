"""Show results: figures, and the explorer of failures."""
