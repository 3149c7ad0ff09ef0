"""Checkpoints: what a run needs to go on, on disk, whole or not there."""
