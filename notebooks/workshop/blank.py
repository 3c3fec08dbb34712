"""Write the learners' notebooks from the solutions: what stands between `# solution` and `# end` becomes dots.

python notebooks/workshop/blank.py"""

import json
import re
from pathlib import Path

HERE = Path(__file__).parent
SOLVED = re.compile(r"^([ \t]*)# solution\n.*?^[ \t]*# end\n?", re.M | re.S)


def blanked(notebook: dict) -> dict:
    """A solution's notebook with its solutions taken out, and said to be an exercise."""
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code":
            source = SOLVED.sub(r"\1...  # your code\n", source).rstrip("\n")
            source = re.sub(r"^(\w+) = .*  # solved$", r"\1 = ...", source, flags=re.M)
        cell["source"] = source.replace(" (solved)", "").splitlines(True)
        cell["id"] = cell["id"].replace("solved-", "")
    return notebook


def text(notebook: dict) -> str:
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for path in sorted((HERE / "solutions").glob("*.ipynb")):
        (HERE / path.name).write_text(text(blanked(json.loads(path.read_text("utf-8")))), "utf-8")
        print(HERE / path.name)
