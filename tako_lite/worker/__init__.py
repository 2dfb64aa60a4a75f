"""The child process: it loads its group's modules and executes runs.

Standard library only, since its start is our cold start.
"""
