"""The command line."""


def main() -> None:
    """Entry point (placeholder until the commands land)."""
