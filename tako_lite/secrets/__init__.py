"""Secrets: values that only the groups which name them get, and that are hidden in logs.

`source` reads them in the daemon, `worker_secrets` holds them in a worker, `mask` hides them in text.
"""

from tako_lite.secrets.mask import NOTHING, Mask
from tako_lite.secrets.source import SecretSource, read
from tako_lite.secrets.worker_secrets import install, installed, masked, secret

__all__ = ["NOTHING", "Mask", "SecretSource", "install", "installed", "masked", "read", "secret"]
