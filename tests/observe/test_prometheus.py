"""A real Prometheus: the rules are good, they fire when a real run is refused, and every query of the dashboard gives data."""

import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.observe import test_metrics
from tests.properties.lab import Lab, jsonl

from gristmill.core.errors import GateRefused
from gristmill.observe.pulse import Live

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "monitoring"
PROMETHEUS, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")
pytestmark = pytest.mark.skipif(
    PROMETHEUS is None or PROMTOOL is None, reason="no Prometheus on this machine: `make debian` installs it"
)


def promtool(*argv):
    done = subprocess.run([PROMTOOL, *argv], cwd=EXAMPLES, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_are_good_and_do_what_they_say():
    promtool("check", "rules", "rules.yaml")
    promtool("test", "rules", "rules_test.yaml")


def test_every_rule_and_panel_uses_metrics_there_are():
    text = (EXAMPLES / "rules.yaml").read_text() + json.dumps(queries())
    known = {f"gristmill_{metric.name}" for metric in test_metrics.METRICS}
    used = set(test_metrics.re.findall(r"\bgristmill_\w+", text))
    assert used - known == set()


def queries():
    panels = json.loads((EXAMPLES / "dashboard.json").read_text())["panels"]
    found = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    assert len(found) > 20
    return [query.replace("$dataset", ".*") for query in found]


class Quiet(SimpleHTTPRequestHandler):
    """Serves the textfiles, as a node exporter would."""

    extensions_map = {".prom": "text/plain"}  # noqa: RUF012

    def log_message(self, *_):
        pass


class Prometheus:
    """A Prometheus on loopback that scrapes these addresses every second, with the rules of the example."""

    def __init__(self, folder, paths):
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        scraped = f"127.0.0.1:{self.server.server_port}"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        jobs = [
            {"job_name": path, "metrics_path": f"/{path}", "static_configs": [{"targets": [scraped]}]} for path in paths
        ]
        config = {
            "global": {"scrape_interval": "500ms", "evaluation_interval": "500ms"},
            "rule_files": [str(EXAMPLES / "rules.yaml")],
            "scrape_configs": jobs,
        }
        (folder / "prometheus.yml").write_text(json.dumps(config))
        command = [
            PROMETHEUS, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address={self.address}", "--log.level=error",
        ]  # fmt: skip
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    def ask(self, what, **parameters):
        url = f"http://{self.address}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.loads(answer.read())["data"]

    def wait(self, ready, seconds=20):
        """Give what `ready` gives as soon as that is something."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if found := ready():
                    return found
            except OSError:
                assert self.process.poll() is None, self.process.stderr.read()
            time.sleep(0.2)
        raise AssertionError(f"nothing after {seconds} s")

    def close(self):
        self.process.terminate()
        self.process.communicate(timeout=20)
        self.server.shutdown()
        self.server.server_close()


def test_a_refused_run_fires_the_alert_and_the_dashboard_shows_it(tmp_path):
    (tmp_path / "served").mkdir()
    base = {"sources": [{"name": "a", "files": {"path": "a/*", "id": "id"}}], "monitoring": {"textfile": str(tmp_path / "served" / "real.prom")}}  # fmt: skip
    lab = Lab(tmp_path / "lab", base)
    lab.put("a/1.jsonl", jsonl([{"id": "1", "text": "The mill grinds."}]))
    lab.run()
    live = Live(run=8, stage="read", tasks=4, done=1, running=2, waiting=1, bytes_done=5, rows_in=3, rows_out=2)
    test_metrics.sheet(live=live).write(
        tmp_path / "served" / "whole.prom"
    )  # what the small run has not: drift, cost, a queue
    prometheus = Prometheus(tmp_path / "served", ["real.prom", "whole.prom"])
    try:

        def firing():
            found = prometheus.ask("alerts")["alerts"]
            return {each["labels"]["alertname"] for each in found if each["labels"].get("dataset") == str(lab.dataset)}

        def scraped():
            wanted = f'gristmill_run_number{{dataset="{lab.dataset}"}}'
            return prometheus.ask("query", query=wanted)["result"]

        prometheus.wait(scraped)
        assert firing() == set()  # the good run alarms nobody
        lab.configure(base | {"gate": {"min_docs": 5}})
        lab.put("a/2.jsonl", jsonl([{"id": "2", "text": "The mill grinds on."}]))
        with pytest.raises(GateRefused):
            lab.run()
        assert prometheus.wait(firing) >= {"GristmillRunRefused"}
        for query in queries():
            assert prometheus.wait(lambda query=query: prometheus.ask("query", query=query)["result"], 5), query
    finally:
        prometheus.close()
