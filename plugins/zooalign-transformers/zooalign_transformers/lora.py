"""``python -m zooalign_transformers.lora ADAPTER --aligned DIR -o OUT`` is ``zooalign lora``."""

import runpy
import sys

if __name__ == "__main__":
    sys.argv[1:1] = ["lora"]
    runpy.run_module("zooalign", run_name="__main__", alter_sys=True)
