"""Tests in several processes: what ``pytest -n 2`` gives to which."""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

BROWSER = "tests/browser/"


class ByFile(LoadScopeScheduling):
    """A file's tests share a process and what was made for them; all tests in a browser share one browser and server.

    Those begin first, since they take longest; then come files with many tests.
    """

    def _split_scope(self, nodeid: str) -> str:
        return BROWSER if nodeid.startswith(BROWSER) else nodeid.split("::")[0]
