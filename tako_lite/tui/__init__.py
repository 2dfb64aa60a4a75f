"""Snapshots in, rich renderables out: nothing here asks, waits or prints."""
