"""The same burst through Alertmanager, for comparison, where Debian's package is installed."""

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from typing import Final

from tests.benchmarks.processes import ended, free_port, pin
from tests.benchmarks.scene import Scene

PROGRAM: Final = "prometheus-alertmanager"
READY_WITHIN: Final = 20.0

_CONFIG: Final = """
route: {{receiver: hook, group_by: ['...'], group_wait: 0s, group_interval: 5m, repeat_interval: 1h}}
receivers: [{{name: hook, webhook_configs: [{{url: '{url}/alertmanager'}}]}}]
"""


def installed() -> bool:
    """Returns whether there is one on this machine."""
    return shutil.which(PROGRAM) is not None


def burst_through_alertmanager(scene: Scene, count: int) -> float:
    """Returns the seconds from the one call that brings so many alerts to the last webhook."""
    scene.servers.forget()
    config = scene.directory / "alertmanager.yml"
    config.write_text(_CONFIG.format(url=scene.servers.url))
    url = f"http://127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [
            PROGRAM,
            f"--config.file={config}",
            f"--storage.path={scene.directory / 'alertmanager'}",
            f"--web.listen-address={url.removeprefix('http://')}",
            "--cluster.listen-address=",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    pin(process.pid, scene.cores.watcher)
    with ended(process):
        _until_ready(url)
        alerts = [
            {
                "labels": {"alertname": "RunWaits", "run": f"run-{number:04}"},
                "annotations": {"prompt": f"Approve refund number {number} of 620.00 EUR to customer 7421?"},
            }
            for number in range(count)
        ]
        body = json.dumps(alerts).encode()
        began = time.monotonic()
        _call(f"{url}/api/v2/alerts", body)
        scene.servers.wait("posts", count)
    return scene.servers.report().posts[-1].at - began


def _until_ready(url: str) -> None:
    give_up = time.monotonic() + READY_WITHIN
    while True:
        try:
            _call(f"{url}/-/ready")
        except (urllib.error.URLError, OSError):
            if time.monotonic() > give_up:
                raise
            time.sleep(0.05)
        else:
            return


def _call(url: str, body: bytes | None = None) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with opener.open(request, timeout=READY_WITHIN) as answer:
        answer.read()
