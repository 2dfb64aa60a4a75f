"""The daemon: it composes the store, the processes and the sockets, and decides what runs where."""
