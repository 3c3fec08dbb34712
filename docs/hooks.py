"""Parts of the documentation that are written from the package, so that they cannot disagree."""

import argparse
from pathlib import Path

from mkdocs.structure.files import File

from chunkykit.cli.app import build_parser
from chunkykit.lab import PROFILES, TABLES

ROOT = Path(__file__).parent.parent


def on_files(files, config):
    """Add the figures of the checkout to the site; mkdocs calls this once."""
    for path in sorted(ROOT.glob("figures/*.png")):
        name = path.relative_to(ROOT).as_posix()
        files.append(File(name, str(ROOT), config.site_dir, config.use_directory_urls))
    return files


def on_page_markdown(markdown: str, **_) -> str:
    """Replace the markers of a page; mkdocs calls this for every page."""
    # in the checkout the figures lie beside docs/, in the site within it
    markdown = markdown.replace("](../figures/", "](figures/")
    parts = {
        "<!-- tables -->": tables_page,
        "<!-- profiles -->": profiles_table,
        "<!-- commands -->": commands_page,
    }
    for marker, write in parts.items():
        if marker in markdown:
            markdown = markdown.replace(marker, write())
    return markdown


def tables_page() -> str:
    """Every table of a run folder with its columns."""
    lines = []
    for table in TABLES.values():
        name = f"{table.name}-RUBRIC" if table.per_rubric else table.name
        lines += [
            f"### `{name}`",
            "",
            f"Stage `{table.stage}`. A row is {table.meaning}.",
            "",
            "| column | holds | meaning |",
            "|---|---|---|",
        ]
        for column in table.columns:
            optional = " (optional)" if column.optional else ""
            lines.append(f"| `{column.name}` | {column.kind}{optional} | {column.meaning} |")
        lines.append("")
    return "\n".join(lines)


def profiles_table() -> str:
    """The sizes of every profile."""
    names = list(PROFILES)
    sizes = list(PROFILES[names[0]])
    lines = ["| size | " + " | ".join(f"`{name}`" for name in names) + " |"]
    lines.append("|---" * (len(names) + 1) + "|")
    for size in sizes:
        values = ["all" if PROFILES[n][size] is None else f"{PROFILES[n][size]:,}" for n in names]
        if size == "k":
            values = ["auto" if value == "all" else value for value in values]
        lines.append(f"| `{size}` | " + " | ".join(values) + " |")
    return "\n".join(lines)


def commands_page() -> str:
    """The help of every command."""
    parser = build_parser()
    sections = ["```text", parser.format_help().rstrip(), "```", ""]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                sections += [f"## {name}", "", "```text", command.format_help().rstrip(), "```", ""]
    return "\n".join(sections)
