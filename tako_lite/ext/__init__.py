"""Integrations, each of which needs a package that tako-lite itself does not: `pip install tako-lite[NAME]`."""
