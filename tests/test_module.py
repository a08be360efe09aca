# SPDX-License-Identifier: GPL-2.0-only
"""membench.py as a text."""

from __future__ import annotations

import ast
from collections import Counter

from live import MODULE


def test_no_name_is_given_twice() -> None:
    """In one long file, a second constant of a name would take the place of the first."""
    names: Counter[str] = Counter()
    for statement in ast.parse(MODULE.read_text()).body:
        if isinstance(statement, ast.Assign):
            targets = [node for target in statement.targets for node in ast.walk(target)]
            names.update(node.id for node in targets if isinstance(node, ast.Name))
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            names[statement.target.id] += 1
        elif isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
            names[statement.name] += 1
    assert [name for name, count in names.items() if count > 1] == []
