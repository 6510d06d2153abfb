"""Code and commands of a page in docs/, as they are written there."""

import re
import shlex
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"`([\w-]+\.(?:py|yaml))`")


def files_of(page: str) -> dict[str, str]:
    """Files that a page shows: each block of Python or YAML, by the name last said before it."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return {
        FILE.findall(text[: block.start()])[-1]: block[2]
        for block in BLOCK.finditer(text)
        if block[1] in ("python", "yaml")
    }


def page_of(page: str) -> str:
    """Text of a page."""
    return (DOCS / page).read_text(encoding="utf-8")


def commands_of(page: str) -> list[list[str]]:
    """Shell commands of a page, each as its words."""
    text = (DOCS / page).read_text(encoding="utf-8")
    blocks = "".join(block[2] for block in BLOCK.finditer(text) if block[1] == "sh")
    lexer = shlex.shlex(blocks, posix=True, punctuation_chars="\n")
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t", True, ""
    commands: list[list[str]] = [[]]
    for word in lexer:
        if word.strip("\n"):
            commands[-1].append(word)
        else:
            commands.append([])
    return [command for command in commands if command]
