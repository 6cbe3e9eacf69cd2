"""The tutorials: one script in percent format each, executed to a notebook, shown as a page.

``python docs/site/notebooks.py [NAME ...]`` executes the scripts of ``docs/tutorials/`` (needs the
extra ``docs``) and writes the notebooks beside them.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

TUTORIALS = Path(__file__).parent.parent / "tutorials"


def execute(script: Path) -> None:
    """Run a script cell by cell in a folder that is thrown away, and write its notebook."""
    from tempfile import TemporaryDirectory

    import jupytext
    import nbformat
    from nbclient import NotebookClient

    notebook = jupytext.read(script)
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    with TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=600, resources=resources).execute()
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"  # the same file from the same run
        cell.metadata.pop("execution", None)  # when it ran
        cell.metadata.pop("lines_to_next_cell", None)
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
            for output in cell.outputs:
                if "text" in output:  # a kernel asks for colours, which a page cannot show
                    output.text = re.sub(r"\x1b\[[\d;]*m", "", output.text)
    nbformat.validate(notebook)
    nbformat.write(notebook, script.with_suffix(".ipynb"))


def markdown(notebook: Path) -> str:
    """A page with the notebook's text, code and outputs; pictures are inside of it."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    name = notebook.stem
    note = f"*The [notebook]({name}.ipynb), and the [script]({name}.py) that it is made from.*"
    title, *rest = (part for cell in cells for part in _of_cell(cell))
    heading, _, text = title.partition("\n")
    return "\n\n".join([heading, note, text.strip(), *rest]) + "\n"


def _of_cell(cell: dict[str, Any]) -> list[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return [source]
    outputs = [_of_output(output) for output in cell["outputs"]]
    return [f"```python\n{source}\n```", *filter(None, outputs)]


def _of_output(output: dict[str, Any]) -> str:
    data = output.get("data", {})
    if "image/png" in data:
        png = data["image/png"].strip()
        return f"![What the code above draws](data:image/png;base64,{png})"
    if "text/html" in data:
        return "".join(data["text/html"])
    text = "".join(output.get("text", data.get("text/plain", "")))
    return f"```text\n{text.rstrip()}\n```" if text.strip() else ""


if __name__ == "__main__":
    wanted = sys.argv[1:] or sorted(path.stem for path in TUTORIALS.glob("*.py"))
    for stem in wanted:
        execute(TUTORIALS / f"{stem}.py")
        print(f"docs/tutorials/{stem}.ipynb")
