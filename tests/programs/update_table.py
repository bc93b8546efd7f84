"""Writes figures of programs into table.json: `python tests/programs/update_table.py REASON NAME [NAME ...]`."""

import json
import os
import sys
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"
TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS)]


def main(reason: str = "", *names: str) -> int:
    from small_programs import PROGRAMS, TABLE, figures, versions

    table = json.loads(TABLE.read_text())
    if not reason.strip() or not names or set(names) - set(PROGRAMS):
        print(f"{__doc__}\nThe table has {', '.join(table['programs'])}; there are {', '.join(PROGRAMS)}.")
        return 2
    if table["versions"] != versions() and (others := set(table["programs"]) - set(names)):
        print(f"the table is of {table['versions']}, so write {', '.join(sorted(others))} anew too")
        return 2
    table["versions"] = versions()
    for name in names:
        table["programs"][name] = {**figures(name), "reason": reason}
        TABLE.write_text(json.dumps(table, indent=2) + "\n")
        print(name, table["programs"][name], flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
