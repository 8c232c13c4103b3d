"""What must hold of everything that is written for people, whatever other people's words are in it."""

import json
import re
from dataclasses import replace
from typing import Any, Final

from tests.support.characters import acting_in
from tests.support.slack_markup import acting, mentions_fired
from tests.support.slack_rules import refused
from watcher.messages import render
from watcher.messages.message import Message
from watcher.models import Event
from watcher.notifiers.slack.blocks import TEXT_MAX, blocks
from watcher.notifiers.slack.markup import fallback, plain

OURS: Final = re.compile(r"!date\^\d+\^\{date_short_pretty\} \{time\}\|[\dT:Z-]+")


def assert_one_line(text: str) -> None:
    """Fails if a text is more than a line, or if a character of it acts."""
    assert set() == acting_in(text)


def message(event: Event) -> dict[str, Any]:
    """Returns what goes to Slack for an event, without mentions of ours."""
    return _slack_message(render(event))


def _slack_message(rendered: Message) -> dict[str, Any]:
    return {"text": fallback(rendered), "blocks": blocks(rendered), "mrkdwn": False}


def assert_harmless(event: Event) -> None:
    """Fails if Slack would refuse the message, or if anything in it that is not ours would act.

    The links of requests are ours: they are made from the configured template.
    """
    rendered = render(event)
    links = {rendered.link, *(item.link for item in rendered.items)}
    everything = _slack_message(rendered)
    for form in (everything, {"text": plain(replace(rendered, link=None))}):
        assert refused(form) == ""
        assert mentions_fired(form) == []
        found = [found for found in acting(form) if not OURS.fullmatch(found)]
        assert [found for found in found if "blocks" not in form or found not in links] == []
        assert len(form["text"]) <= TEXT_MAX
    total = len(json.dumps(everything["blocks"], ensure_ascii=False)) + len(everything["text"])
    assert total <= 13_000
