"""Other plugins that happen to be installed here change nothing."""

import os

os.environ.setdefault("ZOOALIGN_PLUGINS", "diffusers")
