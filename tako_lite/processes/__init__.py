"""Worker processes: a fork server, children, and the pools they form. Nothing here knows of runs."""
