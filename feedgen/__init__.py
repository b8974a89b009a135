"""A feed generator for Bluesky that fits on a home PC."""

__version__ = "0.1.0"
