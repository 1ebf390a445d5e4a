"""The live endpoints over HTTP: answers equal the library's, bad input, and more clients than the queue takes."""

import json
import re
import shutil
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sae_pipeline.causal.attribution import attribute
from sae_pipeline.causal.edits import Edit, edit_hidden
from sae_pipeline.causal.flips import holds
from sae_pipeline.causal.probe import Probe
from sae_pipeline.classifier.classifier import Classifier, predict
from sae_pipeline.classifier.logits import centred
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.tokens import counted_mask
from sae_pipeline.runs.folders import read_run
from sae_pipeline.schema.run import Prompt
from sae_pipeline.study import present
from tests.conftest import SmallStudy
from tests.support.server_process import Server, failure
from viz_analysis.api.problems import BusyError, ClientGoneError
from viz_analysis.feature_probe_server import create_app
from viz_analysis.live.queue import ModelQueue
from viz_analysis.runs.sources import RunFolder

TEXT = "Shares of Ørsted surge 12% after profit beats forecasts 🚀"


class LiveServer(Server):
    """The program started with --live."""

    def post(self, path: str, body: Any, **headers: str) -> tuple[int, Any, Any]:
        """(status, answer, headers); `body` is JSON or bytes."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        asked = urllib.request.Request(self.address + path, data, {"Content-Type": "application/json"} | headers)
        try:
            with urllib.request.urlopen(asked, timeout=30) as response:
                return response.status, json.load(response), response.headers
        except urllib.error.HTTPError as error:
            return error.code, json.load(error), error.headers

    def ask(self, path: str, **body: Any) -> Any:
        status, answer, _ = self.post(path, body)
        assert status == 200, answer
        return answer


@pytest.fixture(scope="module")
def server(study: SmallStudy) -> Any:
    started = LiveServer("--analysis-dir", str(study.root / "analysis_data"), "--live")
    yield started
    started.process.kill()
    started.process.communicate()


@pytest.fixture(scope="module")
def probe(study: SmallStudy) -> tuple[Classifier, Probe]:
    """The same parts, in this process."""
    classifier, sae = present.run_parts(study.root, read_run(study.run).metadata, torch.device("cpu"))
    return classifier, Probe.of(classifier.model, sae, classifier.tokenizer.pad_token_id)


def undecided(classifier: Classifier, prompts: Sequence[Prompt], n: int) -> list[str]:
    """Of headlines joined in pairs, the n texts whose two likeliest classes are nearest."""
    first, second = ([p.text for p in prompts if (p.prediction == 2) == neutral][:40] for neutral in (True, False))
    texts = [f"{one} {other}" for one in first for other in second]
    logits = predict(classifier.model, classifier.tokenize(texts), classifier.tokenizer.pad_token_id)
    best = np.sort(logits, axis=1)
    return [texts[i] for i in np.argsort(best[:, -1] - best[:, -2])[:n]]


class TestAnswers:
    """What comes over HTTP is what the library computes."""

    def test_probe(self, server: LiveServer, probe: tuple[Classifier, Probe]) -> None:
        """The prediction is the classifier's, effects add up exactly, ablations and activations are the library's."""
        classifier, library = probe
        found = server.ask("/api/probe", text=TEXT, steps=8, ablate=3)
        headline = classifier.tokenize([TEXT])[0]
        reading = library.read([headline])
        np.testing.assert_allclose(found["logits"], centred(reading.logits)[0], atol=1e-4)
        assert found["prediction"] == int(np.argmax(found["probabilities"]))
        assert (found["tokens"], found["starts"], found["words"]) == (headline.tokens, headline.starts, headline.words)
        total = np.sum([f["effects"] for f in found["features"]], 0) + found["base"] + found["rest"]
        np.testing.assert_allclose(total, found["logits"], atol=1e-9)
        assert found["estimate"] == "integrated" and found["n_active"] == len(reading.firings.group_start)
        assert sum(found["token_effects"]) == pytest.approx(
            found["logits"][found["prediction"]] - found["base"][found["prediction"]], abs=1e-2
        )
        names = {
            f: server.get(f"/api/feature_info?id={f}")["found_name"] for f in (g["feature"] for g in found["features"])
        }
        assert found["found_names"] == {str(f): name for f, name in names.items() if name}
        sizes = [abs(f["effects"][found["prediction"]]) for f in found["features"]]
        assert sizes == sorted(sizes, reverse=True) and len(sizes) == 10
        hidden, input_ids, mask = reading.padded(np.array([0]))
        counted = counted_mask([headline], "words")
        dense = library.sae.encode(hidden)[0]
        for feature in found["features"]:
            values = dense[feature["positions"], feature["feature"]]
            np.testing.assert_allclose(feature["values"], values, rtol=1e-4)
            assert sum(feature["position_effects"]) == pytest.approx(feature["effects"][found["prediction"]], abs=1e-5)
            assert headline.word_at(feature["position"]) == feature["word"]
        for feature in found["features"][:3]:
            with torch.no_grad():
                edited = edit_hidden(hidden, counted, library.sae, [Edit(feature["feature"])])
                after = centred(library.tail(edited, input_ids, mask).double().numpy())[0]
            np.testing.assert_allclose(feature["ablation"]["logits"], found["logits"] - after, atol=1e-4)
        assert all(f["ablation"] is None for f in found["features"][3:])

    def test_quick_probe(self, server: LiveServer) -> None:
        """Without steps: gradient × activation, neither base nor rest."""
        found = server.ask("/api/probe", text=TEXT, top=40)
        assert found["estimate"] == "gradient" and found["base"] is found["rest"] is None
        assert 10 < len(found["features"]) <= 40

    def test_intervene(self, server: LiveServer) -> None:
        """Edits are made together or separately; scaling by 1 changes nothing, ablating what fires does."""
        features = [f["feature"] for f in server.ask("/api/probe", text=TEXT)["features"][:4]]
        ablations = [{"feature": f} for f in features]
        one = server.ask("/api/intervene", text=TEXT, edits=ablations)
        each = server.ask("/api/intervene", text=TEXT, edits=ablations, separately=True)
        assert len(one["after"]) == 1 and len(each["after"]) == 4 and each["edited"] == []
        np.testing.assert_allclose(one["before"]["logits"], each["before"]["logits"], rtol=1e-5, atol=1e-5)
        assert np.abs(np.subtract(one["before"]["logits"], one["after"][0]["logits"])).max() > 1e-3
        assert [e["feature"] for e in one["edited"]] == sorted(features)
        assert all(set(e["after"]) == {0.0} and min(e["before"]) > 0 for e in one["edited"])
        probed = server.ask("/api/probe", text=TEXT, ablate=4)["features"][:4]
        for feature, after in zip(probed, each["after"], strict=True):
            before_less_after = np.subtract(each["before"]["logits"], after["logits"])
            np.testing.assert_allclose(feature["ablation"]["logits"], before_less_after, atol=1e-4)
        same = server.ask(
            "/api/intervene", text=TEXT, edits=[{"feature": features[0], "operation": "scale", "value": 1}]
        )
        np.testing.assert_allclose(same["after"][0]["logits"], same["before"]["logits"], atol=1e-5)
        position = one["edited"][0]["positions"][0]
        steer = {"feature": features[0], "operation": "clamp", "value": 30, "positions": [position]}
        edited = server.ask("/api/intervene", text=TEXT, edits=[steer])["edited"][0]
        assert edited["after"][edited["positions"].index(position)] == 30

    @pytest.mark.parametrize("level", [0.0, 40.0])
    def test_flip(self, server: LiveServer, study: SmallStudy, probe: tuple[Classifier, Probe], level: float) -> None:
        """`intervene` with the features of a flip gives the last prediction of the flip."""
        texts = undecided(probe[0], read_run(study.run).prompts, 12)
        found = [(text, server.ask("/api/flip", text=text, level=level)) for text in texts]
        turned = [(text, answer) for text, answer in found if answer["found"]]
        assert turned, [answer["message"] for _, answer in found]
        for _, answer in found:
            assert answer["message"].endswith(".") and answer["found"] == bool(answer["steps"])
        for text, answer in turned:
            last = answer["steps"][-1]["after"]
            assert last["prediction"] != answer["before"]["prediction"]
            fires = {f["feature"]: f["positions"] for f in server.ask("/api/probe", text=text, top=100)["features"]}
            edits = [
                {"feature": s["feature"], "operation": "clamp", "value": level, "positions": fires.get(s["feature"])}
                for s in answer["steps"]
            ]
            if all(edit["positions"] for edit in edits):
                after = server.ask("/api/intervene", text=text, edits=edits)["after"][0]
                np.testing.assert_allclose(after["probabilities"], last["probabilities"], atol=1e-4)

    def test_why_nothing_flips(self, server: LiveServer, study: SmallStudy, probe: tuple[Classifier, Probe]) -> None:
        """Without a flip, the message has the number of features that it takes, or the margin without any feature."""
        classifier, library = probe
        texts = [prompt.text for prompt in read_run(study.run).prompts[:12]]
        reading = library.read(classifier.tokenize(texts))
        effects = attribute(library, reading, 0).by_feature(reading.firings, "gradient")
        second = np.argsort(reading.logits, 1)[:, -2].tolist()
        reasons = set()
        for targets in ([None] * len(texts), second):
            expected = holds(library, reading, effects, range(len(texts)), targets, max_size=1)
            for text, target, hold in zip(texts, targets, expected, strict=True):
                answer = server.ask("/api/flip", text=text, target=target, max_size=1)
                if answer["found"]:
                    continue
                reasons.add(hold.reason)
                found = re.search(
                    r"set of up to 1 features .*: (it takes (\d+)|even with all .* (-?[\d.]+) logits)",
                    answer["message"],
                )
                assert found, answer["message"]
                if hold.n_needed is None:
                    assert float(found[3]) == pytest.approx(hold.margin, abs=0.02)
                else:
                    assert int(found[2]) == pytest.approx(hold.n_needed, rel=0.1)
                assert target is None or f" to {answer['labels'][target]}" in answer["message"]
        assert "base" in reasons

    def test_audit(self, server: LiveServer, study: SmallStudy, probe: tuple[Classifier, Probe]) -> None:
        """Predictions before are the run's, those after are `intervene`'s, and the parts join to the whole."""
        prompts = read_run(study.run).prompts
        features = [f["feature"] for f in server.ask("/api/probe", text=prompts[0].text)["features"][:8]]
        parts = [server.ask("/api/audit", features=features, offset=n, limit=50) for n in range(0, len(prompts), 50)]
        assert all(part["n_headlines"] == len(prompts) for part in parts)
        assert [c for part in parts for c in part["before"]] == [p.prediction for p in prompts]
        assert [c for part in parts for c in part["labels"]] == [p.label for p in prompts]
        after = [c for part in parts for c in part["after"]]
        edits = [{"feature": f} for f in features]
        for n in (0, 7, 33):
            alone = server.ask("/api/intervene", text=prompts[n].text, edits=edits)["after"][0]
            assert after[n] == alone["prediction"]
        assert 0 < sum(part["n_fired"] for part in parts) <= len(prompts)
        assert server.post("/api/audit", {"features": features, "offset": 10**6})[0] == 400
        assert server.post("/api/audit", {"features": [10**6]})[0] == 400

    def test_state(self, server: LiveServer, study: SmallStudy) -> None:
        """The state names the run and the device."""
        state = server.get("/api/live")
        assert (state["live"], state["run_id"], state["device"]) == (True, read_run(study.run).metadata.run_id, "cpu")


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("probe", {"text": ""}, 400, "at least 1 character"),
        ("probe", {"text": "  \t "}, 400, "no word"),
        ("probe", {"text": "https://t.co/abc"}, 400, "no word"),
        ("probe", {"text": "a" * 1001}, 400, "at most 1000 characters"),
        ("probe", {"text": "." * 900}, 400, "902 tokens; the classifier reads"),
        ("probe", {"text": "ok", "steps": 10**9}, 400, "less than or equal to 32"),
        ("probe", {"text": "ok", "run": "99"}, 404, "no run '99'"),
        ("probe", {"text": "ok", "depth": 3}, 400, "Extra inputs"),
        ("probe", {"text": 7}, 400, "valid string"),
        ("probe", {}, 400, "required"),
        ("probe", [1, 2], 400, "must be a JSON object"),
        ("probe", b"{", 400, "must be a JSON object"),
        ("probe", b"\xff\xfe", 400, "must be a JSON object"),
        ("intervene", {"text": "ok", "edits": []}, 400, "at least 1 item"),
        ("intervene", {"text": "ok", "edits": [{"feature": 10**6}]}, 400, "no feature 1000000"),
        ("intervene", {"text": "ok", "edits": [{"feature": -1}]}, 400, "greater than or equal to 0"),
        ("intervene", {"text": "ok", "edits": [{"feature": 1, "value": float("nan")}]}, 400, "must be a JSON object"),
        ("intervene", {"text": "ok", "edits": [{"feature": 1, "value": float("inf")}]}, 400, "must be a JSON object"),
        ("intervene", {"text": "ok", "edits": [{"feature": 1, "operation": "scale", "value": 1e30}]}, 400, "10000"),
        ("intervene", {"text": "ok", "edits": [{"feature": 1, "operation": "double"}]}, 400, "'ablate', 'scale'"),
        ("intervene", {"text": "ok", "edits": [{"feature": 1, "positions": [0]}]}, 400, "Position 0 cannot be edited"),
        ("intervene", {"text": "ok", "edits": [{"feature": 1, "positions": [99]}]}, 400, "Position 99 cannot"),
        ("intervene", {"text": "ok", "edits": [{"feature": 1}] * 257}, 400, "at most 256 items"),
        ("intervene", {"text": "ok", "edits": [{"feature": 1}] * 10_000}, 413, "large|exceeds"),
        ("flip", {"text": "ok", "target": 7}, 400, "no class 7"),
        ("flip", {"text": "ok", "max_size": 65}, 400, "less than or equal to 64"),
    ],
)
def test_bad_questions(server: LiveServer, path: str, body: Any, status: int, message: str) -> None:
    """Each is answered with one sentence and a 4xx status, and the server goes on."""
    found, answer, _ = server.post(f"/api/{path}", body)
    assert (found, set(answer)) == (status, {"error"}), answer
    assert re.search(message, answer["error"]["message"]), answer
    assert server.ask("/api/probe", text="Profit rises")["features"]


def test_other_sites_and_forms_are_refused(server: LiveServer) -> None:
    """Neither a form nor a page of another site makes the server compute."""
    assert server.post("/api/probe", b"text=ok", **{"Content-Type": "application/x-www-form-urlencoded"})[0] == 415
    assert server.post("/api/probe", {"text": "ok"}, Origin="https://elsewhere.example")[0] == 403
    assert server.post("/api/probe", {"text": "ok"}, Origin="http://localhost:1234")[0] == 403
    proxied = {"Origin": "http://localhost:1234", "Sec-Fetch-Site": "same-origin"}
    assert server.post("/api/probe", {"text": "ok"}, **proxied)[0] == 200


def probe_request(**body: Any) -> bytes:
    """A whole request as it is sent."""
    data = json.dumps({"text": TEXT} | body).encode()
    head = f"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(data)}"
    return f"POST /api/probe HTTP/1.1\r\n{head}\r\n\r\n".encode() + data


def test_clients_that_leave(server: LiveServer) -> None:
    """Ten clients close their connections at once; the next one is answered."""
    for _ in range(10):
        with server.connect() as connection:
            connection.sendall(probe_request(steps=32, ablate=32))
    for _ in range(100):
        status, answer, _ = server.post("/api/probe", {"text": "Profit rises"})
        if status == 200:
            return
        assert status == 429, answer
        time.sleep(0.1)
    pytest.fail("the queue stayed full")


def test_a_client_that_ends_its_sending_gets_its_answer(server: LiveServer) -> None:
    with server.connect(timeout=30) as connection:
        connection.sendall(probe_request())
        connection.shutdown(socket.SHUT_WR)
        received = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    assert json.loads(received.rpartition(b"\r\n\r\n")[2])["text"] == TEXT, received


def test_beyond_capacity(server: LiveServer) -> None:
    """Of forty requests at once some are answered and the rest are told when to try again; runs are still served."""
    text = " ".join(["profit up sharply"] * 5)

    def one(n: int) -> tuple[int, str | None]:
        status, _, headers = server.post("/api/probe", {"text": f"{text} {n}", "steps": 8})
        return status, headers["Retry-After"]

    with ThreadPoolExecutor(40) as clients:
        asked = [clients.submit(one, n) for n in range(40)]
        assert server.get("/api/headlines?limit=1")["total"] > 0
        answers = [a.result() for a in asked]
    assert {status for status, _ in answers} == {200, 429}
    assert all(after == "1" for status, after in answers if status == 429)
    assert sum(status == 200 for status, _ in answers) > 1
    assert server.ask("/api/probe", text=TEXT)


class TestQueue:
    """The queue without a server around it."""

    def test_order_patience_and_absence(self, study: SmallStudy) -> None:
        """One question runs at a time, too many are refused, clients that left are skipped, and slow ones are told."""
        live = ModelQueue(RunFolder(study.root / "analysis_data"), max_waiting=1, timeout_seconds=1.0)
        run = read_run(study.run).metadata
        live.load(run)
        hold, started, ran = threading.Event(), threading.Event(), []

        def work(name: str) -> Any:
            def question(_: Any) -> Any:
                ran.append(name)
                started.set()
                hold.wait(60)

            return question

        with ThreadPoolExecutor(3) as clients:
            first = clients.submit(live.ask, run, work("first"), lambda: False)
            assert started.wait(60)
            second = clients.submit(live.ask, run, work("second"), lambda: True)
            while live._worker._work_queue.empty():
                time.sleep(0.01)
            with pytest.raises(BusyError, match="waiting"):
                live.ask(run, work("third"), lambda: False)
            with pytest.raises(BusyError, match="within 1 seconds"):
                first.result()
            hold.set()
            with pytest.raises((ClientGoneError, BusyError)):
                second.result()
        assert ran == ["first"]
        live.ask(run, lambda model: model.run, lambda: False)  # the places are free again

    def test_another_run(self, study: SmallStudy, tmp_path: Path) -> None:
        """The model follows the run asked for; one is held."""
        live = ModelQueue(RunFolder(study.root / "analysis_data"))
        run = read_run(study.run).metadata
        other = run.model_copy(update={"run_id": "run-777"})
        assert live.run_id is None
        live.load(run)
        assert live.run_id == run.run_id
        live.load(other)
        assert live.run_id == "run-777"


def test_without_live(study: SmallStudy) -> None:
    """Both the state and the refusals say how to turn it on."""
    client = create_app(study.root / "analysis_data").test_client()
    state = client.get("/api/live").json
    assert state["live"] is False and "--live" in state["message"]
    for path in ("probe", "intervene", "flip", "audit"):
        body = {"text": "ok"} | ({"edits": [{"feature": 1}]} if path == "intervene" else {})
        body = {"features": [1]} if path == "audit" else body
        answer = client.post(f"/api/{path}", json=body)
        assert answer.status_code == 409 and "--live" in answer.json["error"]["message"]


def test_what_keeps_it_from_starting(study: SmallStudy, tmp_path: Path) -> None:
    """The run's weights are gone, or another SAE lies in their place: one sentence."""
    shutil.copytree(study.run, tmp_path / "analysis_data" / study.run.name)
    assert "is gone" in failure("--analysis-dir", str(tmp_path / "analysis_data"), "--live")
    shutil.copytree(study.root / "finbert_sae" / "store", tmp_path / "finbert_sae" / "store")
    held = read_run(study.run).metadata.sae_hash
    others = [p for p in (tmp_path / "finbert_sae" / "store").glob("*/sae.pt") if p.parent.name != held]
    shutil.copy(others[0], tmp_path / "finbert_sae" / "store" / held / "sae.pt")
    assert "is damaged: sae.pt" in failure("--analysis-dir", str(tmp_path / "analysis_data"), "--live")
    with pytest.raises(UserError, match=r"is damaged: sae\.pt"):
        ModelQueue(RunFolder(tmp_path / "analysis_data")).load(read_run(study.run).metadata)
