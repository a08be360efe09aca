# SPDX-License-Identifier: GPL-2.0-only
"""How long membench.py is: `make size`; with --check, an error if a part of it is too long.

Lines are those that somebody wrote and has to read: blank lines and comments count, the
generated block does not.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import Iterator, List, NamedTuple

MODULE = Path(__file__).resolve().parent.parent / "membench.py"
LIMITS = {"module": 8000, "section": 900, "class": 350, "function": 60}
LONGEST = 3  # so many of each kind are shown, even if none is too long


class Part(NamedTuple):
    """Some consecutive lines of the module."""

    kind: str
    name: str
    lines: int

    def __str__(self) -> str:
        over = self.lines - LIMITS.get(self.kind, self.lines)
        return f"{self.lines:>8,}  {self.name}" + (f"  ({over:,} too many)" if over > 0 else "")


def sections(lines: List[str]) -> List[Part]:
    """Sections (a banner of ====), and indented the parts of them that have one of ----."""
    found: List[Part] = []
    section_end = part_end = len(lines)
    for number in reversed(range(len(lines))):
        banner = re.match(r"# (====|----) (.*?) [=-]+$", lines[number])
        if banner and banner[1] == "====":
            found.append(Part("section", banner[2], section_end - number))
            section_end = part_end = number
        elif banner:
            found.append(Part("part", "  " + banner[2], part_end - number))
            part_end = number
    return [Part("section", "Docstring and imports", section_end), *reversed(found)]


def definitions(node: ast.AST, outer: str = "") -> Iterator[Part]:
    """All classes and functions, the inner ones too."""
    for child in ast.iter_child_nodes(node):
        name = outer
        if isinstance(child, (ast.ClassDef, ast.FunctionDef)):
            kind = "class" if isinstance(child, ast.ClassDef) else "function"
            name = f"{outer}.{child.name}".lstrip(".")
            begin = min([child.lineno, *(one.lineno for one in child.decorator_list)])
            yield Part(kind, name, (child.end_lineno or begin) - begin + 1)
        yield from definitions(child, name)


def main() -> None:
    text = MODULE.read_text().partition("# BEGIN GENERATED")[0]
    defined = sorted(definitions(ast.parse(text)), key=lambda part: -part.lines)
    shown = sections(text.splitlines())
    if sys.argv[1:] == ["--check"]:
        parts = [part for part in shown + defined if part.lines > LIMITS.get(part.kind, part.lines)]
        sys.exit("too long:\n" + "\n".join(map(str, parts)) if parts else 0)
    print("Sections and their parts", *shown, sep="\n")
    print(Part("module", "lines in all, before the generated block", text.count("\n")))
    for kind, title in {"class": "Classes", "function": "Functions"}.items():
        longest = [part for part in defined if part.kind == kind]
        over = sum(part.lines > LIMITS[kind] for part in longest)
        print(
            f"\n{title}, the longest (at most {LIMITS[kind]})",
            *longest[: max(over, LONGEST)],
            sep="\n",
        )


if __name__ == "__main__":
    main()
