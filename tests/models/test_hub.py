"""The Hub's cache and downloads, against a Hub of our own on localhost: nothing leaves the machine."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.work.discoveries import submit
from app.work.worker import Snapshot, Worker
from hap_engine.errors import ModelError, UnsupportedModelError
from hap_engine.graph.graph import Graph
from hap_engine.masked.opening import open_masked
from hap_engine.models.catalog import config_of, resolve, tokenizer_file
from hap_engine.models.hub import DownloadStoppedError, cache_folder, cached, cached_models, download
from hap_engine.settings import DiscoveryConfig
from hap_engine.transformer.load import load_model, loading
from tests.builders.fake_hub import COMMIT, FakeHub, put
from tests.builders.tiny_models import hf_model


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hub cache."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    from huggingface_hub import constants

    made = FakeHub()
    made.files = {path.name: path.read_bytes() for path in folder.iterdir()}
    made.files |= {"pytorch_model.bin": b"pickle", "modeling_x.py": b"code", "onnx/model.onnx": b""}
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_ENDPOINT", made.address)
    yield made
    made.server.shutdown()
    made.server.server_close()


# -- the cache -----------------------------------------------------------------------------------


def test_the_cache_is_where_the_hubs_own_library_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_CACHE")
    monkeypatch.setenv("HF_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/hub")
    monkeypatch.delenv("HF_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert cache_folder() == Path("/elsewhere/huggingface/hub")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache/huggingface/hub"


def test_a_cached_model_opens_offline(cache: Path, folder: Path) -> None:
    snapshot = put(cache, "someone/tiny", folder)
    assert cached("someone/tiny") == snapshot
    assert cached("someone/tiny", "0" * 40) == snapshot
    assert cached("someone/tiny", "v2") is None
    assert cached_models() == ["someone/tiny"]
    source = resolve("someone/tiny")
    assert source.kind == "hub"
    assert tokenizer_file(source) == snapshot / "tokenizer.json"
    section = load_model("someone/tiny").to_dict()
    assert section["reference"] == "someone/tiny"
    assert section["revision"] == "0" * 40


def test_a_half_downloaded_model_is_not_taken_for_complete(cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "sharded"
    hf_model("gpt2").save_pretrained(path, max_shard_size="40KB")
    snapshot = put(cache, "someone/half", path)
    assert cached("someone/half") == snapshot
    sorted(snapshot.glob("*.safetensors"))[-1].unlink()
    assert cached("someone/half") is None
    (snapshot / "model.safetensors.index.json").write_text("[]")
    assert cached("someone/half") is None
    assert cached_models() == []


def test_sizes_of_offered_models_are_known_before_the_download() -> None:
    config = config_of(resolve("gpt2"))
    assert config is not None
    assert (config["n_layer"], config["vocab_size"]) == (12, 50257)
    assert config_of(resolve("someone/unheard-of")) is None


# -- downloads -----------------------------------------------------------------------------------


def test_a_model_is_downloaded_watched_and_kept(hub: FakeHub) -> None:
    told: list[tuple[str, float]] = []
    model = load_model("someone/tiny", progress=lambda *step: told.append(step))
    assert open_masked(model).graph == Graph(2, 4, 4)
    assert model.to_dict()["revision"] == COMMIT
    shares = [share for text, share in told if text.startswith("Downloading someone/tiny: ")]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert set(hub.downloads()) == {"config.json", "model.safetensors", "tokenizer.json"}
    hub.asked.clear()
    load_model("someone/tiny")
    assert hub.asked == [], "the second time nobody is asked"


def test_a_revision_is_asked_for_by_name(hub: FakeHub) -> None:
    model = load_model("someone/tiny@v1.0")
    assert model.to_dict()["revision"] == COMMIT
    assert hub.asked[0][0] == "/api/models/someone/tiny/revision/v1.0"
    assert cached("someone/tiny", "v1.0") == cached("someone/tiny", COMMIT)
    assert cached("someone/tiny") is None


def test_a_cancelled_run_stops_its_download_and_the_next_one_resumes(hub: FakeHub) -> None:
    hub.piece, hub.pause = 1 << 20, 0.02
    extra = 40 << 20
    hub.files["model.safetensors"] += b"\0" * extra  # far more than is fetched
    work = loading("someone/tiny")
    record = next(work)
    while record.step < 10:
        record = next(work)
    assert "Downloading someone/tiny" in record.message
    work.close()
    (part,) = cache_folder().glob("models--*/blobs/*.incomplete")
    deadline, size = time.monotonic() + 10, -1
    while size != (size := part.stat().st_size):  # it comes to rest
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert 0 < size < extra
    assert cached("someone/tiny") is None
    hub.pause = 0
    hub.asked.clear()
    download("someone/tiny")
    assert (f"/someone/tiny/resolve/{COMMIT}/model.safetensors", f"bytes={size}-") in hub.asked
    assert "config.json" not in hub.downloads(), "finished files are not fetched again"
    got = (cached("someone/tiny") or Path()) / "model.safetensors"
    assert got.read_bytes() == hub.files["model.safetensors"]


def test_a_connection_that_breaks_is_taken_up_where_it_broke(hub: FakeHub) -> None:
    hub.files["model.safetensors"] += b"\0" * (28 << 20)
    hub.hangs_up_after = 25 << 20
    folder = download("someone/tiny")
    assert (folder / "model.safetensors").read_bytes() == hub.files["model.safetensors"]
    asked = [span for path, span in hub.asked if path.endswith("model.safetensors")]
    assert asked == [None, f"bytes={20 << 20}-"], "two pieces of ten were whole"


def test_a_connection_that_stays_broken_is_said_and_the_next_try_resumes(hub: FakeHub) -> None:
    hub.files["model.safetensors"] += b"\0" * (28 << 20)
    hub.hangs_up_after, hub.status_afterwards = 25 << 20, 500
    with pytest.raises(ModelError, match="Check the connection and try again: a download goes on"):
        download("someone/tiny")
    (part,) = cache_folder().glob("models--*/blobs/*.incomplete")
    size = part.stat().st_size
    assert size == 20 << 20
    assert cached("someone/tiny") is None
    hub.status = 200
    hub.asked.clear()
    folder = download("someone/tiny")
    assert (f"/someone/tiny/resolve/{COMMIT}/model.safetensors", f"bytes={size}-") in hub.asked
    assert (folder / "model.safetensors").read_bytes() == hub.files["model.safetensors"]


def test_cancelling_a_job_on_the_page_stops_its_download(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HAP_HOME", str(tmp_path))
    hub.piece, hub.pause = 1 << 20, 0.02
    extra = 40 << 20
    hub.files["model.safetensors"] += b"\0" * extra
    jobs = Worker(2)
    job = submit(jobs, DiscoveryConfig(model="someone/tiny"))

    def wait(done: Callable[[Snapshot], bool]) -> Snapshot:
        deadline = time.monotonic() + 60
        while not done(found := jobs.get(job) or Snapshot(job)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return found

    found = wait(lambda one: one.progress.step >= 5)
    assert re.fullmatch(r"Downloading someone/tiny: \d+ of 42 MB", found.progress.message)
    jobs.cancel(job)
    wait(lambda one: one.state == "cancelled")
    (part,) = cache_folder().glob("models--*/blobs/*.incomplete")
    time.sleep(1)
    size = part.stat().st_size
    time.sleep(0.5)
    assert part.stat().st_size == size < extra


def test_damaged_downloads_are_thrown_away(hub: FakeHub, cache: Path) -> None:
    blobs = cache / "models--someone--tiny" / "blobs"
    blobs.mkdir(parents=True)
    sha = hashlib.sha256(hub.files["model.safetensors"]).hexdigest()
    (blobs / f"{sha}.incomplete").write_bytes(b"of another file")
    with pytest.raises(ModelError, match="arrived damaged"):
        download("someone/tiny")
    assert not list(blobs.glob("*.incomplete"))
    assert cached("someone/tiny") is None
    assert download("someone/tiny") == blobs.parent / "snapshots" / COMMIT


def test_what_another_program_fetched_is_not_fetched_again(hub: FakeHub, cache: Path) -> None:
    from huggingface_hub import snapshot_download

    theirs = snapshot_download("someone/tiny", cache_dir=cache, endpoint=hub.address, allow_patterns=["*.safetensors"])
    hub.asked.clear()
    assert str(download("someone/tiny")) == theirs
    assert set(hub.downloads()) == {"config.json", "tokenizer.json"}


def test_weights_that_the_hub_keeps_like_text_are_fetched_too(hub: FakeHub) -> None:
    hub.large = False
    assert load_model("someone/tiny").graph == Graph(2, 4, 4)


def test_stopping_says_so(hub: FakeHub) -> None:
    with pytest.raises(DownloadStoppedError, match="stopped"):
        download("someone/tiny", stopped=lambda: True)


def test_pickles_and_code_are_refused_before_the_weights(hub: FakeHub) -> None:
    del hub.files["model.safetensors"]
    with pytest.raises(ModelError, match=r"only pickle weights \(pytorch_model.bin\).*run code"):
        download("someone/tiny")
    hub.files["model.safetensors"] = b"weights"
    config = {"model_type": "evil", "auto_map": {"AutoModelForCausalLM": "evil.C"}}
    hub.files["config.json"] = json.dumps(config).encode()
    with pytest.raises(UnsupportedModelError, match="never loaded"):
        download("someone/tiny")
    assert hub.downloads() == ["config.json"]


def test_an_adapter_is_no_model(hub: FakeHub) -> None:
    hub.files["adapter_config.json"] = hub.files.pop("config.json")
    with pytest.raises(ModelError, match=r"no config\.json\. It is an adapter"):
        download("someone/tiny")
    assert hub.downloads() == []


def test_a_snapshot_that_lacks_a_file_is_not_taken_for_whole(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    whole = huggingface_hub.snapshot_download
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda name, **kw: whole(name, **kw | {"allow_patterns": "config.json"})
    )
    with pytest.raises(ModelError, match="Check the connection"):
        download("someone/tiny")
    assert cached("someone/tiny") is None


def test_shards_are_fetched_with_their_index_and_nothing_twice(hub: FakeHub, tmp_path: Path) -> None:
    hf_model("gpt2").save_pretrained(tmp_path / "s", max_shard_size="40KB")
    del hub.files["model.safetensors"]
    hub.files |= {path.name: path.read_bytes() for path in (tmp_path / "s").iterdir()}
    hub.files["consolidated.safetensors"] = b"the same weights once more"
    assert load_model("someone/tiny").graph == Graph(2, 4, 4)
    assert "consolidated.safetensors" not in hub.downloads()


@pytest.mark.parametrize(
    ("status", "headers", "words"),
    [
        (404, {"X-Error-Code": "RepoNotFound"}, "no public model named 'someone/tiny'"),
        (404, {"X-Error-Code": "RevisionNotFound"}, "no revision"),
        (403, {"X-Error-Code": "GatedRepo"}, "accept its licence"),
        (500, {}, "Check the connection and try again"),
    ],
)
def test_what_the_hub_answers_is_said_plainly(hub: FakeHub, status: int, headers: dict[str, str], words: str) -> None:
    hub.status, hub.headers = status, headers
    with pytest.raises(ModelError, match=words) as caught:
        download("someone/tiny", "v9")
    assert "\n" not in str(caught.value)


def test_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://localhost:9")  # nobody listens there
    with pytest.raises(ModelError) as caught:
        load_model("someone/some-model")
    message = str(caught.value)
    assert message.startswith("someone/some-model is not on this machine")
    assert "Check the connection" in message
    assert "hap-mini" in message


def test_a_full_disk_is_noticed_before_the_download(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 9, 1))
    with pytest.raises(ModelError, match=r"GB free. Make room"):
        download("someone/tiny")
    assert hub.downloads() == []
