"""Write the `frame` of every vector anew, from its scapy expression: `python -m tests.vectors.write`."""

from __future__ import annotations

import json

from tests.vectors.reading import FOLDER, build, read

_FIELD = "  frame: "


def main() -> None:
    for path in sorted(FOLDER.glob("*.yaml")):
        frames = iter([build(vector.scapy).hex() for vector in read(path)])
        lines = path.read_text().splitlines()
        made = [_FIELD + json.dumps(next(frames)) if line.startswith(_FIELD) else line for line in lines]
        path.write_text("\n".join(made) + "\n")


if __name__ == "__main__":
    main()
