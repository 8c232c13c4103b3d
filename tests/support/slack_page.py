"""Pictures of what the watcher says in Slack, and the golden files of the same.

    python -m tests.support.slack_page --out .github/slack-message.png    the picture for the README
    python -m tests.support.slack_page --all DIRECTORY                    a picture of every sample
    python -m tests.support.slack_page --golden                           writes tests/golden/slack anew

Pictures need `chromium` on PATH, nothing else.
"""

import argparse
import asyncio
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.support.slack_html import WIDTH, page
from tests.support.slack_samples import GOLDEN, SAMPLES, Sample, calls, channel, golden, said

PICTURE: Final = "approval-code"
"""The sample that the README shows."""

_FLAGS: Final = (
    "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-background-networking",
    "--disable-component-update", "--no-first-run",
)  # fmt: skip


def main(arguments: list[str]) -> None:
    """Does what the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.support.slack_page", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the picture for the README there")
    parser.add_argument("--all", type=Path, metavar="DIRECTORY", help="write a picture of every sample there")
    parser.add_argument("--sample", default=PICTURE, choices=[sample.name for sample in SAMPLES])
    parser.add_argument("--golden", action="store_true", help="write the golden files anew")
    parser.add_argument("--dark", action="store_true", help="in Slack's dark theme")
    chosen = parser.parse_args(arguments)
    if chosen.golden:
        write_golden(GOLDEN)
    by_name = {sample.name: sample for sample in SAMPLES}
    if chosen.out:
        photograph(html_of(by_name[chosen.sample], dark=chosen.dark), chosen.out)
    if chosen.all:
        chosen.all.mkdir(parents=True, exist_ok=True)
        for sample in SAMPLES:
            photograph(
                html_of(sample, dark=chosen.dark, notification=True), chosen.all / f"{sample.name}.png"
            )


def html_of(sample: Sample, *, dark: bool = False, notification: bool = False) -> str:
    """Returns the page of a sample, looked at soon after its last message."""
    slack = asyncio.run(said(sample))
    text = calls(slack)[-1]["arguments"]["text"] if notification else ""
    return page(channel(slack), now=slack.now + 60, dark=dark, notification=text)


def write_golden(directory: Path) -> None:
    """Writes the golden files and removes those of samples that are no more."""
    directory.mkdir(parents=True, exist_ok=True)
    for file in directory.glob("*.json"):
        file.unlink()
    for sample in SAMPLES:
        text = golden(calls(asyncio.run(said(sample))))
        (directory / f"{sample.name}.json").write_text(text, encoding="utf-8")


def photograph(html: str, file: Path) -> None:
    """Writes a picture of a page, as high as the page is."""
    browser = shutil.which("chromium")
    if browser is None:
        sys.exit("chromium is not on PATH: install it (Debian: apt install chromium)")
    with tempfile.TemporaryDirectory(prefix="slack-page-") as directory:
        source = Path(directory) / "page.html"
        source.write_text(html, encoding="utf-8")
        base = [browser, *_FLAGS, f"--user-data-dir={directory}/profile", f"--window-size={WIDTH},200"]
        dumped = _run([*base, "--dump-dom", source.as_uri()])
        height = re.search(r'data-height="(\d+)"', dumped)
        assert height is not None, "the page did not tell its height"
        size = f"--window-size={WIDTH},{height[1]}"
        picture = [f"--screenshot={file.absolute()}", "--force-device-scale-factor=2"]
        _run([*base[:-1], size, *picture, source.as_uri()])


def _run(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


if __name__ == "__main__":
    main(sys.argv[1:])
