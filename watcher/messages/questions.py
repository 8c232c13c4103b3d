"""Pure: the questions of a feedback request, each with its options and how it can be answered."""

from collections.abc import Iterator
from itertools import islice
from typing import Final

from watcher.messages.formatting import count
from watcher.messages.message import Question
from watcher.models import InputRequest, Json, PendingRequest
from watcher.sanitize.text import clean_lines, is_blank, one_line

_RULES: Final = {
    (False, False): "Choose one.",
    (False, True): "Choose one, or give your own answer.",
    (True, False): "Choose any number.",
    (True, True): "Choose any number, or give your own answer.",
}
"""By whether several options can be chosen, and whether an answer of one's own is allowed."""
_QUESTIONS_SHOWN, _OPTIONS_SHOWN = 10, 20
"""The platform allows four of each."""
_OWN_ANSWER: Final = "Give your own answer."


def read_questions(given: Json) -> tuple[Question, ...]:
    """Returns the questions that the API gave; what is no question is left out."""
    return tuple(islice(_questions(given), _QUESTIONS_SHOWN))


def without_questions(prompt: str, given: Json) -> str:
    """Returns the prompt without the list of its questions at the end, which says less than they do.

    The platform adds that list to the prompt of the agent. A prompt that ends otherwise stays whole, and so
    does one with more questions or options than are shown.
    """
    items = _items(given)
    if max([len(items) - _QUESTIONS_SHOWN, *(len(_options(item)) - _OPTIONS_SHOWN for item in items)]) > 0:
        return prompt
    listed = "\n".join(
        line for number, item in enumerate(items, start=1) for line in _as_listed(number, item)
    )
    kept = prompt.rstrip()
    return kept.removesuffix(listed).rstrip() if listed and kept.endswith(listed) else prompt


def given_fields(request: InputRequest | PendingRequest) -> dict[str, Json]:
    """Returns by its name in the API what only some requests have, where the API gave it."""
    fields = {"questions": request.questions, "is_browser_takeover": request.is_browser_takeover}
    return {name: value for name, value in fields.items() if value is not None}


def _questions(given: Json) -> Iterator[Question]:
    for item in _items(given):
        header, question = _text(item, "header"), _text(item, "question")
        text = clean_lines(f"[{header}] {question}" if header else question)
        options = tuple(_option(option, ": ") for option in _options(item))
        more = len(options) - _OPTIONS_SHOWN
        options = (*options[:_OPTIONS_SHOWN], *([f"… {count(more, 'more option')}"] if more > 0 else []))
        own = item.get("allow_custom_answer") is not False
        rule = _RULES[item.get("multi_select") is True, own] if options else _OWN_ANSWER
        if options or not is_blank(text):
            yield Question(text, options, rule)


def _as_listed(number: int, item: dict[str, Json]) -> Iterator[str]:
    header = _text(item, "header")
    yield f"{number}. {f'[{header}] ' if header else ''}{_text(item, 'question')}"
    yield from (f"   - {_option(option, ' - ')}" for option in _options(item))
    if item.get("allow_custom_answer") is not False:
        yield "   - Other (free text)"


def _items(given: Json) -> list[dict[str, Json]]:
    return [item for item in given if isinstance(item, dict)] if isinstance(given, list) else []


def _options(item: dict[str, Json]) -> list[Json]:
    options = item.get("options")
    return [option for option in options if option] if isinstance(options, list) else []


def _option(option: Json, between: str) -> str:
    if not isinstance(option, dict):
        return one_line(str(option))
    label, description = _text(option, "label"), _text(option, "description")
    return one_line(f"{label}{between}{description}" if description else label)


def _text(item: dict[str, Json], name: str) -> str:
    value = item.get(name)
    return value if isinstance(value, str) else ""
