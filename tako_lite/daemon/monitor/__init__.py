"""What monitoring systems ask the daemon: its health and its metrics, over HTTP. Imported only if `[monitor] listen` is set."""
