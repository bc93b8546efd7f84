"""Writes the figures of a program into table.json: `python tests/programs/update_table.py NAME REASON`."""

import json
import os
import sys
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"
TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS)]


def main(name: str, reason: str) -> int:
    from small_programs import PROGRAMS, TABLE, figures, versions

    if name not in PROGRAMS or not reason.strip():
        print(f"usage: {__doc__} There are {', '.join(PROGRAMS)}.", file=sys.stderr)
        return 2
    table = json.loads(TABLE.read_text()) if TABLE.exists() else {"versions": versions(), "programs": {}}
    if table["versions"] != versions() and set(table["programs"]) - {name}:
        print(f"the other rows are of {table['versions']}: write all of them anew", file=sys.stderr)
        table["versions"] = versions()
    table["programs"][name] = {**figures(name), "reason": reason}
    TABLE.write_text(json.dumps(table, indent=2) + "\n")
    print(table["programs"][name])
    return 0


if __name__ == "__main__":
    sys.exit(main(*(sys.argv[1:] if len(sys.argv) == 3 else ("", ""))))
