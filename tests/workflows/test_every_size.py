"""A run of every size, while it goes on."""

from __future__ import annotations

from hap_engine.findings import CircuitRecord
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.picture.at_sizes import so_far
from hap_engine.picture.scene import compare
from hap_engine.picture.wire import wire
from hap_engine.progress import Progress, drain
from hap_engine.settings import DiscoveryConfig, PruningConfig
from hap_engine.workflows.discover import discover
from tests.builders.tiny_models import SIZES


def test_a_run_of_every_size_tells_what_it_knows_on_the_way(gpt2: MaskedModel) -> None:
    pruning = PruningConfig(budget="every-size", steps=12, batch_size=4)
    records: list[Progress] = []
    config = DiscoveryConfig(model="tiny", sparsity=0.8, pruning=pruning, sizes=SIZES)
    run = drain(discover(config, gpt2.model), records.append)
    early = next(i for i, record in enumerate(records) if "sizes" in record.data)
    assert early < next(i for i, record in enumerate(records) if record.phase == "prune")
    known = records[early].data["sizes"]
    assert list(known["orders"]) == ["eap", "eap-ig-kl"]
    for size in {*known["grid"]} & {*run.sizes["grid"]}:
        for name in known["orders"]:
            before, after = (found["metrics"][name]["kl"][found["grid"].index(size)] for found in (known, run.sizes))
            assert before == after
    shown = [record.data for record in records if "order" in record.data]
    assert [data["ordered"] for data in shown] == [1, 5, 10, 12]
    for data in shown:
        assert data["order"].circuit(len(data["circuit"].live)) == data["circuit"].live
        history = run.history[: data["ordered"]]
        found = so_far(gpt2.graph, known, data["order"], history, "hap")
        assert found.front == found.own == max(known["grid"][-1], round(min(step["budget"] for step in history)))
        record = CircuitRecord(data["circuit"].live, 9)
        drawn = wire(compare(gpt2.graph, ("eap", record), ("hap", record), sizes=found))["sizes"]
        assert [curve["look"] for curve in drawn["curves"]] == ["line", "line", "dots"]
        assert "training steps" not in drawn["told"]
        assert "single steps" in drawn["note"]
    assert so_far(gpt2.graph, known, None, (), "hap").grid == tuple(known["grid"])
