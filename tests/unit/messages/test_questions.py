"""The questions of a feedback request."""

import pytest

from watcher.messages import Question
from watcher.messages.questions import read_questions, without_questions
from watcher.models import Json

SIZE = {
    "question": "Which size?",
    "header": "Size",
    "options": [{"label": "S", "description": "up to 36"}, {"label": "L", "description": None}],
    "allow_custom_answer": False,
}
COLOUR = {"question": "Which colours?", "options": [{"label": "red"}, "blue"], "multi_select": True}
NOTE = {"question": "Anything else?", "options": []}
LISTED = """\
1. [Size] Which size?
   - S - up to 36
   - L
2. Which colours?
   - red
   - blue
   - Other (free text)
3. Anything else?
   - Other (free text)"""


def test_questions() -> None:
    """Each has its options, and says whether several or an answer of one's own can be given."""
    assert read_questions([SIZE, COLOUR, NOTE]) == (
        Question("[Size] Which size?", ("S: up to 36", "L"), "Choose one."),
        Question("Which colours?", ("red", "blue"), "Choose any number, or give your own answer."),
        Question("Anything else?", (), "Give your own answer."),
    )


@pytest.mark.parametrize(
    "given", [None, [], "x", 1, [1, "x", None], {"question": "x"}, [{}, {"question": "\u200b"}]]
)
def test_what_is_no_question(given: Json) -> None:
    """Anything else asks nothing."""
    assert read_questions(given) == ()


def test_a_question_of_odd_parts() -> None:
    """A question whose parts are missing or of another type is still shown."""
    assert read_questions([{"question": 5, "header": [], "options": [{}, 7, {"label": 3}]}]) == (
        Question("", ("7", ""), "Choose one, or give your own answer."),
    )


def test_a_flood_of_options() -> None:
    """Of very many options the rest is counted."""
    (question,) = read_questions([{"question": "?", "options": [f"o{number}" for number in range(25)]}])
    assert (len(question.options), question.options[-1]) == (21, "… 5 more options")


def test_a_list_that_is_not_shown_whole_stays_in_the_prompt() -> None:
    """With more questions than are shown, the prompt is what tells of all of them."""
    asked: list[Json] = [{"question": f"q{number}?", "allow_custom_answer": False} for number in range(11)]
    prompt = "\n".join(f"{number}. q{number - 1}?" for number in range(1, 12))
    assert prompt == without_questions(prompt, asked)
    assert "" == without_questions("\n".join(prompt.split("\n")[:10]), asked[:10])


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        (f"I need to know more.\n{LISTED}", "I need to know more."),
        (f"{LISTED}\n", ""),
        (f"{LISTED}\nReally?", f"{LISTED}\nReally?"),
        ("Which size?", "Which size?"),
    ],
)
def test_a_prompt_that_lists_its_questions(prompt: str, expected: str) -> None:
    """The list at the end of the prompt, which the questions say better, is not shown twice."""
    assert expected == without_questions(prompt, [SIZE, COLOUR, NOTE])
    assert prompt == without_questions(prompt, None)
