"""What MkDocs calls while it builds the site (``hooks`` in mkdocs.yml; ``python -m mkdocs build``)."""

from __future__ import annotations

import re
from typing import Any

from mkdocs.structure.files import File, Files

from docs.generate.parts import ROOT, colours, fill_in

PICTURE = re.compile(r'<img alt="([^"]*)" src="([^"]*?)(-light)?\.(svg|png)"\s*/?>')


def on_files(files: Files, config: Any) -> Files:
    """The icon and the colours stand elsewhere in the project."""
    files.append(File.generated(config, "assets/icon.svg", abs_src_path=str(ROOT / "assets" / "icon.svg")))
    files.append(File.generated(config, "assets/palette.css", content=colours()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    return fill_in(markdown, page.file.src_uri)


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Pictures that know day and night: drawings are put into the page, screenshots come in pairs."""
    folder = (ROOT / "docs" / page.file.src_uri).parent

    def shown(found: re.Match[str]) -> str:
        alt, name, light, kind = found.groups()
        path = folder / f"{name}.{kind}"
        if kind == "svg" and path.name.startswith("method-"):
            return path.read_text(encoding="utf-8")
        if light and (folder / f"{name}-dark.{kind}").is_file():
            both = [f'<img alt="{alt}" src="{name}-{one}.{kind}#only-{one}">' for one in ("light", "dark")]
            return "".join(both)
        return found[0]

    return PICTURE.sub(shown, html)


def on_post_page(output: str, **_: Any) -> str:
    """A name for the search, which the theme leaves out, for those who listen to the page."""
    search = 'data-md-component="search" role="dialog"'
    return output.replace(search, f'{search} aria-label="Search"', 1)
