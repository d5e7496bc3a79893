"""What the benchmarks of peers count: what clients of a service see, and the chart's bars."""

from __future__ import annotations

import base64
import json
import random
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
from benchmarks import interleaved
from benchmarks.interleaved import Report
from benchmarks.peers import Tally, compare
from benchmarks.peers_plot import plot, shown
from benchmarks.serve_clients import PNG, Clients, Seen, latency_ratio

BODY = {"prompt": "7"}


class Painter(BaseHTTPRequestHandler):
    """Answers every request with the first bytes of a PNG, unless its prompt is none."""

    protocol_version = "HTTP/1.1"
    connections: set[Any]

    def do_POST(self) -> None:
        self.connections.add(self.client_address)
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        data = json.dumps({"data": [{"b64_json": base64.b64encode(PNG).decode()}]}).encode()
        self.send_response(200 if asked["prompt"] else 500)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def clients() -> Iterator[Clients]:
    Painter.connections = set()
    with ThreadingHTTPServer(("127.0.0.1", 0), Painter) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        with Clients(address, psutil.Process()) as found:
            yield found
        server.shutdown()
        thread.join()


def test_clients_keep_their_connections_and_see_every_answer(clients: Clients) -> None:
    clients.wait(BODY)
    seen = clients.at_once([BODY] * 30, num_clients=3)
    assert len(seen.latencies) == 30
    assert seen.seconds < sum(seen.latencies) + 1
    assert len(Painter.connections) <= 1 + 3
    assert set(seen.processor_seconds) == {"service", "client"}


def test_requests_come_at_random_whoever_waits(clients: Clients) -> None:
    seen = clients.at_random([BODY] * 5, gap_seconds=0.01, chance=random.Random(0))
    assert len(seen.latencies) == 5
    assert min(seen.latencies) > 0


def test_an_answer_that_is_no_picture_ends_the_measurement(clients: Clients) -> None:
    with pytest.raises(AssertionError, match="500"):
        clients.at_once([BODY, {"prompt": ""}], num_clients=2)


def test_latencies_are_compared_round_by_round() -> None:
    def turns(*latencies: list[float]) -> list[Seen]:
        return [Seen(1.0, each, {}) for each in latencies]

    ratio = latency_ratio(turns([2.0, 4.0], [6.0], [8.0], [8.0]), turns([1.0], [3.0], [2.0], [2.0]))
    assert (ratio.median, ratio.num_rounds) == ((2.0 + 4.0) / 2, 2)


def test_the_chart_has_a_bar_for_each_row_but_those_that_repeat() -> None:
    rows = [
        {"what": "a", "median": 2.0, "low": 1.5, "high": 3.0},
        {"what": "the same, start-up left in: a", "median": 2.0, "low": 1.5, "high": 3.0},
        {"what": "b", "median": 0.5, "low": -0.1, "high": 0.7},
    ]
    (axes,) = plot([shown(rows), shown(rows[:1])]).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "a"]
    assert len(axes.patches) == 3


def test_a_tally_leaves_out_what_start_up_is_measured_on() -> None:
    tally = Tally(10)
    for count, used in ((10, 3.0), (1, 100.0), (10, 5.0)):
        found = {"rows": count, "processor_seconds": used, "seconds": 2.0}
        assert tally.asked("a loop", count, found) == 2.0
    counts: list[int] = []
    work = tally.here("ours", counts.append)
    work(1)
    assert tally.medians() == {"a loop": 4.0}
    work(10)
    assert counts == [1, 10]
    assert set(tally.medians()) == {"a loop", "ours"}
    with pytest.raises(AssertionError):
        tally.asked("a loop", 10, {"rows": 9, "processor_seconds": 1.0, "seconds": 2.0})


def test_start_up_is_taken_off_and_left_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interleaved, "RESULTS", tmp_path)
    tally = Tally(10)

    def peer(count: int) -> float:
        return tally.asked("Peer", count, {"rows": count, "processor_seconds": 1.0,
                                           "seconds": 1.0 + 0.4 * count})  # fmt: skip

    works = {"ours": lambda count: 0.5 + 0.1 * count, "Peer": peer}
    report = Report("unit")
    compare(report, "work", works, tally, count=10, few=1, num_rounds=2)
    assert [(row["what"], row["median"], row["num_rounds"]) for row in report.ratios] == [
        ("Peer's time / ours: work", pytest.approx(4.0), 2),
        ("the same, start-up left in: Peer, work", pytest.approx(5 / 1.5), 2),
    ]
    assert report.details["work"]["processor_seconds"] == {"Peer": 1.0}
