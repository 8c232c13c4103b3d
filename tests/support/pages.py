"""Pages of the watcher as a browser takes them."""

from html import unescape
from html.parser import HTMLParser

from watcher.monitoring.server import Page


class ShownPage(HTMLParser):
    """A page as a browser takes it: its elements, and its words."""

    def __init__(self, page: Page) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.html = page.html
        self._words: list[str] = []
        self.feed(self.html)

    @property
    def words(self) -> str:
        """All text, in which every run of blanks is one."""
        return " ".join(" ".join(self._words).split())

    @property
    def text(self) -> str:
        """All text as it stands."""
        return "".join(self._words)

    @property
    def title(self) -> str:
        """What a tab shows."""
        return self._between("title")

    @property
    def headline(self) -> str:
        """What is said in large letters."""
        return self._between("h1")

    @property
    def mood(self) -> str | None:
        """Whether the page looks well."""
        return self.attributes("body")[0]["class"]

    @property
    def links(self) -> set[str | None]:
        """Where the page leads."""
        return {anchor["href"] for anchor in self.attributes("a")}

    @property
    def ids(self) -> set[str | None]:
        """Which parts of the page can be reached."""
        return {attributes["id"] for _, attributes in self.elements if "id" in attributes}

    def attributes(self, element: str, style: str | None = None) -> list[dict[str, str | None]]:
        """The attributes of each element with this name, or of those in this style."""
        named = [attributes for name, attributes in self.elements if name == element]
        return [each for each in named if style is None or style in (each.get("class") or "").split()]

    def _between(self, tag: str) -> str:
        return unescape(self.html.partition(f"<{tag}>")[2].partition("</")[0])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keeps it."""
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Keeps it."""
        self._words.append(data)
