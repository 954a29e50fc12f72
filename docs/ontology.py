"""Write ``sedkit/ontology.tsv``: ids, names and children of AudioSet's classes, from Google's ``ontology.json``.

python docs/ontology.py ontology.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

TABLE = Path(__file__).parents[1] / "sedkit" / "ontology.tsv"
HEADER = """\
# AudioSet Ontology, (c) Google, https://research.google.com/audioset/ontology
# Licence of this file: CC BY-SA 4.0, https://creativecommons.org/licenses/by-sa/4.0/
# Changed: ids, names and children only, as a table; written by docs/ontology.py
"""


def table(ontology: list[dict[str, object]]) -> str:
    """The text of the table, one line per class."""
    lines = ["id\tname\tchildren"]
    for each in ontology:
        children = each["child_ids"]
        assert isinstance(children, list)
        lines.append(f"{each['id']}\t{each['name']}\t{' '.join(children)}")
    return HEADER + "".join(line + "\n" for line in lines)


if __name__ == "__main__":
    TABLE.write_text(table(json.loads(Path(sys.argv[1]).read_text("utf-8"))), "utf-8")
