"""Values that only the groups which name them get: where they come from, who has them, and how they are kept out of logs.

`source` reads them in the daemon, `given` holds them in a worker, `mask` hides them in text.
"""

from tako_lite.secrets.mask import NOTHING, Mask
from tako_lite.secrets.source import Source, read
from tako_lite.secrets.worker_secrets import install, masked, secret

__all__ = ["NOTHING", "Mask", "Source", "install", "masked", "read", "secret"]
