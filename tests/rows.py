# SPDX-License-Identifier: GPL-2.0-only
"""Operations as rows, for tests that have no profile."""

from __future__ import annotations

from typing import Any, Iterable, List


class Rows(List[Any]):
    """What a Matcher found: one Operation a row."""

    def take(self, columns: Iterable[Iterable[Any]]) -> None:
        """A Matcher's sink."""
        self.extend(zip(*columns))
