#!/usr/bin/env python3
"""Takes the programs out of a README: readme_examples.py README DIRECTORY writes each fenced block that has a main."""

import re
import sys
from pathlib import Path

EXTENSIONS = {"c": "c", "cpp": "cpp"}


def main() -> int:
    readme, directory = Path(sys.argv[1]), Path(sys.argv[2])
    directory.mkdir(parents=True, exist_ok=True)
    found = {language: 0 for language in EXTENSIONS}
    for language, text in re.findall(r"^```(\w+)\n(.*?)^```$", readme.read_text(encoding="utf-8"), re.M | re.S):
        if language in EXTENSIONS and "int main(" in text:
            found[language] += 1
            (directory / f"example_{found[language]}.{EXTENSIONS[language]}").write_text(text, encoding="utf-8")
    print(", ".join(f"{count} in {language}" for language, count in found.items()))
    return 0 if all(found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
