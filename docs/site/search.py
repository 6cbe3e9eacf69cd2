"""What a search of the site finds for ten questions of users.

``python docs/site/search.py site`` reads the index of a built site, as its search box does, and
prints the first three places of each; its exit code is 1 if none of them is where the answer is.
"""

import json
import sys
from pathlib import Path
from typing import Any

# A question, and the page whose answer must be among the first three places.
QUESTIONS = {
    "merge two checkpoints": "faq/",
    "why is an axis frozen": "faq/",
    "out of memory": "devices/",
    "BatchNorm": "faq/",
    "wrong accuracy": "faq/",
    "add an operator": "extraction/",
    "private hub": "faq/",
    "LoRA": "faq/",
    "diffusers": "faq/",
    "cite": "faq/",
}
SHOWN = 3


def index_of(site: Path) -> Any:
    """The search index of a built site, as mkdocs' search box makes it."""
    from lunr import lunr

    documents = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    fields = [{"field_name": "title", "boost": 1000}, "text"]
    return lunr(ref="location", fields=fields, documents=documents["docs"])


def main() -> int:
    index, missed = index_of(Path(sys.argv[1])), 0
    for question, page in QUESTIONS.items():
        places = [match["ref"] for match in index.search(question)[:SHOWN]]
        right = any(place.startswith(page) for place in places)
        missed += not right
        print(f"{question}: {', '.join(places)}" + ("" if right else f"; NOT {page}"))
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
