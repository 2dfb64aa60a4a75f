"""`tako-lite dev`: the daemon for one person on one machine, with reload on save, readable output and the dashboard."""
