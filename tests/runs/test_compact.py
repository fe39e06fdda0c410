"""Long orders stand in a run file as text, short ones as lists; both are read, and a damaged text is told."""

from __future__ import annotations

import json

import pytest

from hap_engine.errors import RunFileError
from hap_engine.runs import compact
from hap_engine.runs.run_file import dumps, loads
from tests.builders.fakes import fake_run
from tests.builders.sized_runs import sized_run


def test_a_long_order_is_text_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    run = sized_run()
    short = dumps(run)
    assert all(isinstance(order, list) for order in json.loads(short)["sizes"]["orders"].values())
    monkeypatch.setattr(compact, "LONG", 10)
    long = dumps(run)
    assert all(isinstance(order, str) for order in json.loads(long)["sizes"]["orders"].values())
    assert loads(long).sizes == loads(short).sizes == run.sizes


def test_a_long_replay_is_text_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    edges = fake_run().circuits["hap"].circuit.names()
    run = fake_run(replay={"edges": edges, "last_open": list(range(1, len(edges) + 1))})
    short = loads(dumps(run)).replay
    monkeypatch.setattr(compact, "LONG", 10)
    stored = json.loads(dumps(run))
    assert isinstance(stored["replay"]["edges"], str)
    assert loads(json.dumps(stored)).replay == short
    for text in ("", "AAA", "/////w=="):
        with pytest.raises(RunFileError, match="replay"):
            loads(json.dumps({**stored, "replay": {**stored["replay"], "edges": text}}))


@pytest.mark.parametrize("text", ["", "AAA", "AAAA", "?" * 8, "AQAAAAEAAAA=", "/////w=="])
def test_a_damaged_order_is_refused(text: str) -> None:
    data = json.loads(dumps(sized_run()))
    data["sizes"]["orders"]["hap"] = text
    with pytest.raises(RunFileError, match="order of edges 'hap'"):
        loads(json.dumps(data))
