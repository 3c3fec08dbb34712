"""Figures and the explorer."""
