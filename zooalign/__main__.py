"""``python -m zooalign``."""

from zooalign.cli import main

if __name__ == "__main__":
    main()
