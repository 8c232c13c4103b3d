"""The model's destinations: they accept, refuse, hang or lose their reply, and tell what they see."""

from typing import Final, Literal

from tests.resilience.model.config import DIGESTS, PEOPLE
from tests.resilience.model.fate import Fate, Killed
from tests.support.builders import ScriptedNotifier
from watcher.config.models import Config
from watcher.models import Delivery, MessageRef
from watcher.notifiers.base import DeliveryError

Mood = Literal[
    "well", "refuses", "says when", "wants mending", "slips", "loses replies", "hangs", "replies late"
]
"""What a destination does with a delivery. Who hangs accepts in the end, who replies late at once."""
MOODS: Final[tuple[Mood, ...]] = (
    "well",
    "refuses",
    "says when",
    "wants mending",
    "slips",
    "loses replies",
    "hangs",
    "replies late",
)


class Witness:
    """Who is told what destinations see and how the process lives; see `Ledger`."""

    def started(self, config: Config) -> None:
        """A process was started and has taken over what an earlier one left."""

    def polled(self, app: str) -> None:
        """A poll of an app has ended in this life of the process."""

    def killed(self) -> None:
        """The process ends, whatever is under way."""

    def began(self, destination: "Destination", delivery: Delivery) -> None:
        """An attempt begins."""

    def accepted(self, destination: "Destination", delivery: Delivery, *, reply_lost: bool = False) -> None:
        """A destination accepts a delivery, whether or not the watcher gets to know it."""

    def ended(
        self, destination: "Destination", delivery: Delivery, *, well: bool | None, pause: float = 0.0
    ) -> None:
        """An attempt is over, well or not; with None nobody learns how. A `pause` is of so many seconds."""


class Destination(ScriptedNotifier):
    """A place that does as its mood is, and tells the witness what it sees.

    The moods in `script` come first, one for each attempt, then `mood`. One that is `spotless` never was in
    another mood than well.
    """

    def __init__(self, name: str, fate: Fate, witness: Witness, *, place: str, min_interval: float) -> None:
        super().__init__(
            name,
            max_concurrency=1 if name in PEOPLE else 8,
            min_interval=min_interval,
            for_people=name in PEOPLE,
            digests=name in DIGESTS,
        )
        self.rate_limit_key = place
        self.spotless = True
        self.mood: Mood = "well"
        self.script: list[Mood] = []
        self._fate = fate
        self._witness = witness

    def feels(self, mood: Mood, script: list[Mood]) -> None:
        """Does something else from now on."""
        self.mood, self.script = mood, script
        self.spotless = self.spotless and mood == "well" and not script
        self.gate.clear()

    async def send(self, delivery: Delivery) -> MessageRef | None:
        """Does as the mood is."""
        self._fate.turns += 1
        if self._fate.dead:
            raise Killed
        mood = self.script.pop(0) if self.script else self.mood
        self._witness.began(self, delivery)
        self._fate.sends += 1
        well: bool | None = None
        pause = 0.0
        try:
            receipt = await self._answer(mood, delivery)
            well = True
        except Exception as error:
            well = False
            pause = getattr(error, "retry_after", None) or 0.0
            raise
        finally:
            self._fate.sends += 1
            self._witness.ended(self, delivery, well=well, pause=pause)
        return receipt

    async def _answer(self, mood: Mood, delivery: Delivery) -> MessageRef | None:
        if mood == "replies late":
            self._witness.accepted(self, delivery)
        if mood in {"hangs", "replies late"}:
            await self.gate.wait()
        match mood:
            case "refuses":
                raise DeliveryError("not today")
            case "says when":
                raise DeliveryError("later", retry_after=90.0, pauses=True)
            case "wants mending":
                raise DeliveryError("no such channel", fix="name another")
            case "slips":
                raise ValueError("a slip of ours")
            case "loses replies":
                self._witness.accepted(self, delivery, reply_lost=True)
                raise DeliveryError("no answer in time", possibly_delivered=True)
            case "well" | "hangs":
                self._witness.accepted(self, delivery)
            case "replies late":
                pass
        return MessageRef({"ts": delivery.event.id}) if self.for_people else None
