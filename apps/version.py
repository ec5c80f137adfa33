"""The distribution's version; a deployed wheel carries the digest of its code as well."""

import os

BASE = "0.1.0"
__version__ = BASE + (f"+{digest}" if (digest := os.environ.get("DISTLAB_CODE_DIGEST")) else "")
