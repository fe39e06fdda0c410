"""Run docs/tutorial.ipynb and keep its outputs, with a still of each picture: ``python -m docs.generate.tutorial``.

Where a notebook is only read, as on a code host, no frame is shown; a still is. Needs Chromium on the path and
Playwright (requirements-dev.txt).
"""

from __future__ import annotations

import base64
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs" / "tutorial.ipynb"
WIDTH = 1000  # pixels of a still


def executed(notebook: Any, folder: Path) -> Any:
    """A notebook after all its cells ran in `folder`, with this checkout's engine and a home of its own."""
    patience: dict[str, Any] = {"timeout": 600, "startup_timeout": 300}  # seconds; a busy machine starts kernels slowly
    client = NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": folder}}, **patience)
    return client.execute(env=os.environ | {"PYTHONPATH": str(ROOT), "HAP_HOME": str(folder / "home")})


def main() -> None:
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder:
        notebook = executed(nbformat.read(TUTORIAL, as_version=4), Path(folder))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 1300})
        for number, cell in enumerate(notebook.cells, 1):
            cell.id = f"cell-{number}"
            cell.metadata.clear()
            if cell.cell_type == "code":
                cell.outputs = [kept(output, page) for output in cell.outputs if not is_bar(output)]
        browser.close()
    notebook.metadata = {"kernelspec": notebook.metadata.kernelspec, "language_info": {"name": "python"}}
    nbformat.write(notebook, TUTORIAL)


def is_bar(output: Any) -> bool:
    """Whether an output is a live bar, of which nothing is left when its kernel has gone."""
    return "application/vnd.jupyter.widget-view+json" in output.get("data", {})


def kept(output: Any, page: Any) -> Any:
    """An output as it is, a frame as a still of it."""
    html = output.get("data", {}).get("text/html", "")
    if "<iframe" in html:
        del output.data["text/html"]
        output.data["image/png"] = base64.b64encode(still(html, page)).decode("ascii")
    return output


def still(html: str, page: Any) -> bytes:
    """What a frame shows, as a PNG file."""
    page.set_content(f"<body style='margin: 0'>{html}</body>")
    frame = page.frame_locator("iframe")
    frame.locator(".hap-folded:visible, .nsewdrag:visible").first.wait_for()
    page.wait_for_timeout(1500)  # Plotly writes its texts last
    return bytes(page.locator("iframe").screenshot())


if __name__ == "__main__":
    main()
