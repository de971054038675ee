#!/usr/bin/env python3
"""Writes into pages of documentation what the command itself says: between a line <!-- kedge: WHAT --> and <!-- end --> stands

  keys GROUP     a table of the run file's keys of that group
  commands       every command: usage, what it does, options, examples
  exit codes, environment

Usage: tools/gen_docs.py build/kedge docs/run-file.md docs/commands.md    (make docs)
tests/check_docs compares the pages with this."""
import json
import re
import subprocess
import sys

MARK = re.compile(r"(<!-- kedge: (.*?) -->\n).*?(<!-- end -->\n)", re.S)


def help_of(kedge):
    return json.loads(subprocess.run([kedge, "help", "--json"], check=True, capture_output=True, text=True).stdout)


def plain(text):
    """Text as Markdown that shows it as it is."""
    return re.sub(r"([|*<\\])", r"\\\1", text)


def code(text):
    return f"`{text}`" if text else ""


def row(*cells):
    return "".join(f"| {cell} " if cell else "| " for cell in cells) + "|"


def value_of(key):
    if "words" in key:
        return ", ".join(map(code, key["words"]))
    return key["type"] + (f", {code(key['range'])}" if "range" in key else "")


def default_of(key):
    return "required" if key["required"] else code(key.get("default"))


def keys(run_file, name):
    rows = next(group["keys"] for group in run_file if group["group"] == name)
    yield "| key | value | default | |"
    yield "|---|---|---|---|"
    for key in rows:
        if "refused" in key:
            yield row(code(key["key"]), "refused", "", plain(key["refused"]))
        else:
            yield row(code(key["key"]), value_of(key), default_of(key), plain(key["about"]))


def paragraphs(text):
    """Paragraphs; lines that begin with a space are shown as they are."""
    for part in text.split("\n\n"):
        lines = part.strip("\n").split("\n")
        if lines[0].startswith(" "):
            yield from ("    " + line.strip() if len(lines) == 1 else "    " + line for line in lines)
        else:
            yield plain(" ".join(lines))
        yield ""


def command(name, says):
    yield f"### kedge {name}"
    yield ""
    yield f"    kedge {name} {says['usage']}"
    yield ""
    yield from paragraphs(says["about"])
    if says.get("options"):
        yield "| option | default | |"
        yield "|---|---|---|"
        for option in says["options"]:
            left = option["name"] + (" " + option["value"] if "value" in option else "")
            yield row(code(left), code(option.get("default")), plain(option["help"]))
        yield ""
    if "examples" in says:
        yield from ("    " + line.strip() for line in says["examples"].strip("\n").split("\n"))
        yield ""
    for each in says.get("what", []):
        yield from command(f"{name} {each['name']}", each["help"])


def commands(groups):
    for group in groups:
        yield f"## {group['purpose'].capitalize()}"
        yield ""
        for each in group["commands"]:
            yield from command(each["name"], each["help"])


def pairs(table):
    yield "| | |"
    yield "|---|---|"
    for left, right in table.items():
        yield row(code(left), plain(right))


def filled(page, says):
    """The page with every marked place filled in; ValueError for a mark that names nothing."""
    def fill(mark):
        what = mark[2]
        if what.startswith("keys "):
            lines = keys(says["run_file"], what[5:])
        elif what == "commands":
            lines = commands(says["commands"])
        elif what in ("exit codes", "environment"):
            lines = pairs(says[what.replace(" ", "_")])
        else:
            raise ValueError(what)
        return mark[1] + "\n" + "\n".join(lines).rstrip("\n") + "\n\n" + mark[3]
    return MARK.sub(fill, page)


def main(kedge, *pages):
    says = help_of(kedge)
    for name in pages:
        with open(name) as file:
            page = file.read()
        with open(name, "w") as file:
            file.write(filled(page, says))


if __name__ == "__main__":
    main(*sys.argv[1:])
