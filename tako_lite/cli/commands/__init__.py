"""The commands: a module for each family. `cli/app.py` has the table, and imports a module when one of its commands is run."""
