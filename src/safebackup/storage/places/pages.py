"""What a web server shows of a folder: the links on its page."""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.parse import quote, unquote, urljoin, urlsplit


def links_below(root: str, page: str, text: str) -> list[str]:
    """The paths below the URL `root` to which a page links, each once; a folder ends with "/".

    Those that lead elsewhere are not part of the folder, nor is the page itself, to which links lead that sort it anew.
    """
    parser = _Links()
    parser.feed(text)
    parser.close()
    above = urlsplit(root)
    found = dict[str, None]()
    for link in parser.links:
        try:
            target = urlsplit(urljoin(page, link))
        except ValueError:  # no URL at all
            continue
        path, folder = _plain(target.path), _plain(above.path)
        is_here = target.scheme in ("http", "https") and target.netloc == above.netloc
        if is_here and path.startswith(folder) and path not in (folder, _plain(urlsplit(page).path)):
            found.setdefault(path.removeprefix(folder))
    return list(found)


def link_to(root: str, path: str) -> str:
    """The URL of a path below `root`, which ends with "/"."""
    return root + quote(path.encode("utf-8", "surrogateescape"))


def name_in(url: str) -> str:
    """The name of the file that a URL stands for; empty for a folder."""
    return _plain(urlsplit(url).path).rpartition("/")[2]


def _plain(path: str) -> str:
    return unquote(path, errors="surrogateescape")


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take note of where an anchor leads."""
        if tag == "a":
            self.links += [value.strip() for name, value in attrs if name == "href" and value]
