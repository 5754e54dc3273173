"""Write the table of all settings into docs/configs.md, from their declarations.

python scripts/settings_table.py          # update the page
python scripts/settings_table.py --check  # exit with 1 if the page is out of date
"""

import sys
from pathlib import Path

from lstm_lm.config.schema import SCHEMAS
from lstm_lm.settings import REQUIRED, Leaf, all_settings, show

PAGE = Path(__file__).parent.parent / "docs" / "configs.md"
BEGIN, END = "<!-- settings: scripts/settings_table.py writes this part -->\n", "<!-- end of settings -->\n"


def section() -> str:
    """The tables: one per command for its own settings, one per config group."""
    tables: dict[str, list[Leaf]] = {}
    titles: dict[str, str] = {}
    for command, schema in SCHEMAS.items():
        for leaf in all_settings(schema):
            group = leaf.path.partition(".")[0]
            if leaf.is_group:
                titles.setdefault(group, f"**{group}**: {leaf.help}")
            elif leaf.help and "NAME" not in leaf.path:
                name = group if "." in leaf.path else f"lstm-lm {command}"
                known = tables.setdefault(name, [])
                if leaf.path not in [other.path for other in known]:
                    known.append(leaf)
    lines = []
    for name, leaves in tables.items():
        lines += [titles.get(name, f"**{name}**"), "", "| setting | default | values | meaning |", "|---|---|---|---|"]
        lines += [
            f"| `{leaf.path}` | {_default(leaf)} | {_plain(leaf.values)} | {_plain(leaf.help)} |" for leaf in leaves
        ]
        lines.append("")
    return "\n".join(lines)


def _default(leaf: Leaf) -> str:
    return "required" if leaf.default == REQUIRED else f"`{show(leaf.default)}`"


def _plain(text: str) -> str:
    return text.replace("|", r"\|").replace("<", r"\<").replace("*", r"\*")


def updated(page: str) -> str:
    """The page with the current tables."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{section()}\n{END}{after}"


if __name__ == "__main__":
    current = PAGE.read_text(encoding="utf-8")
    if "--check" in sys.argv[1:]:
        sys.exit(int(updated(current) != current))
    PAGE.write_text(updated(current), encoding="utf-8")
