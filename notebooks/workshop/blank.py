"""Write the learners' notebooks from the solutions.

    python notebooks/workshop/blank.py

In a solution, the lines from `# solution` to `# end`, and the value on a line that ends with
`# solved`, are what the learner has to write. The exercise has dots in their place.
"""

import json
import re
from pathlib import Path

HERE = Path(__file__).parent
SOLUTION = re.compile(
    r"^([ \t]*)# solution\n.*?^[ \t]*# end\n?", re.MULTILINE | re.DOTALL
)
SOLVED_VALUE = re.compile(r"^(\w+) = .*  # solved$", re.MULTILINE)


def blanked(notebook: dict) -> dict:
    """Turn a solution into an exercise, in place.

    Args:
        notebook: the solution, as read from its JSON.

    Returns:
        The notebook, with dots for the solutions and without the word "solved".
    """
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code":
            source = SOLUTION.sub(r"\1...  # your code\n", source).rstrip("\n")
            source = SOLVED_VALUE.sub(r"\1 = ...", source)
        cell["source"] = source.replace(" (solved)", "").splitlines(True)
        cell["id"] = cell["id"].replace("solved-", "")
    return notebook


def text(notebook: dict) -> str:
    """Format a notebook as the text of its file.

    Args:
        notebook: the notebook.

    Returns:
        JSON, as Jupyter writes it.
    """
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Write all exercises beside this file."""
    for path in sorted((HERE / "solutions").glob("*.ipynb")):
        solution = json.loads(path.read_text("utf-8"))
        exercise = HERE / path.name
        exercise.write_text(text(blanked(solution)), "utf-8")
        print(exercise)


if __name__ == "__main__":
    main()
