"""Turns snapshots into rich renderables: nothing here makes requests, waits or prints."""
