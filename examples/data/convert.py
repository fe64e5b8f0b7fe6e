#!/usr/bin/env python3
"""Writes iso-codes.json: the ISO code lists of the iso-codes project as one tree.

    convert.py [DIR] > iso-codes.json

DIR holds iso_3166-1.json and its siblings; by default it is the place where
Debian's package iso-codes puts them. The output depends on the input alone:
members are sorted by name, one node stands on each line. A summary goes to
standard error, and anything that leveret would refuse stops the program.
"""

import json
import re
import sys
import unicodedata

SCOPES = {"I": "individual", "M": "macrolanguage", "S": "special"}
TYPES = {
    "A": "ancient",
    "C": "constructed",
    "E": "extinct",
    "H": "historical",
    "L": "living",
    "S": "special",
}


def unique(pairs):
    """Builds an object of its members, and refuses a name that comes twice."""
    members = {}
    for name, value in pairs:
        if name in members:
            sys.exit(f"convert.py: member {name!r} comes twice")
        members[name] = value
    return members


def read(folder, standard):
    path = f"{folder}/iso_{standard}.json"
    with open(path, encoding="utf-8") as file:
        return json.load(file, object_pairs_hook=unique)[standard]


def entry(source, key):
    """One code's node: everything but the key itself, with numbers as numbers."""
    node = {name: value for name, value in source.items() if name != key}
    if "numeric" in node:
        node["numeric"] = int(node["numeric"])
    return node


def table(sources, key):
    return unique((source[key], entry(source, key)) for source in sources)


def countries(folder):
    """Countries with their subdivisions, each under its parent where it has one."""
    result = table(read(folder, "3166-1"), "alpha_2")
    sources = read(folder, "3166-2")
    nodes = table(sources, "code")
    for source in sources:
        code = source["code"]
        country = code.split("-")[0]
        parent = nodes[code].pop("parent", None)
        if parent is None:
            above = result[country]
        else:
            # The parent is written with the country's prefix or without it.
            above = nodes[parent if parent in nodes else f"{country}-{parent}"]
        above.setdefault("subdivisions", {})[code] = nodes[code]
    return result


def languages(folder):
    """The languages of ISO 639-3, with what ISO 639-2 adds to them."""
    older = {source["alpha_3"]: source for source in read(folder, "639-2")}
    result = table(read(folder, "639-3"), "alpha_3")
    for code, node in result.items():
        node["scope"] = SCOPES[node["scope"]]
        node["type"] = TYPES[node["type"]]
        node["iso_639_2"] = code in older
        names = older[code]["name"].split("; ") if code in older else []
        others = [name for name in names if name != node["name"]]
        if others:
            node["other_names"] = others
    return result


def language_groups(folder):
    """The families and groups of ISO 639-5, and what ISO 639-2 alone has."""
    known = {source["alpha_3"] for source in read(folder, "639-3")}
    groups = {source["alpha_3"]: source for source in read(folder, "639-5")}
    for source in read(folder, "639-2"):
        if source["alpha_3"] not in known:
            groups.setdefault(source["alpha_3"], source)
    return table(groups.values(), "alpha_3")


def check_name(name):
    """Stops at what leveret refuses as a name, and at a leading @, which it would escape."""
    if (
        name in ("", ".", "..")
        or "/" in name
        or name.startswith("@")
        or len(name.encode()) > 255
        or unicodedata.normalize("NFC", name) != name
        or re.search(r"~[0-9A-Fa-f]{8,}\Z", name)
    ):
        sys.exit(f"convert.py: {name!r} cannot be a name")


def check_value(name, value):
    for item in value if isinstance(value, list) else [value]:
        if not isinstance(item, (str, bool, int)):
            sys.exit(f"convert.py: {name!r} cannot have the value {item!r}")


def write(name, node, depth, out):
    """Writes a node and what is below it: its own line, then its children's.

    Returns how many nodes and properties those are, and the greatest depth.
    """
    members = sorted(node.items())
    properties = [(key, value) for key, value in members if not isinstance(value, dict)]
    children = [(key, value) for key, value in members if isinstance(value, dict)]
    for key, _ in members:
        check_name(key)
    for key, value in properties:
        check_value(key, value)

    def text(value):
        return json.dumps(value, ensure_ascii=False)

    parts = [f"{text(key)}: {text(value)}" for key, value in properties]
    out.write(" " * depth + (f"{text(name)}: " if name is not None else "") + "{")
    out.write(", ".join(parts))
    nodes, count, deepest = 1, len(properties), depth
    for number, (key, child) in enumerate(children):
        out.write(",\n" if number or properties else "\n")
        below = write(key, child, depth + 1, out)
        nodes, count, deepest = nodes + below[0], count + below[1], max(deepest, below[2])
    out.write("}")
    return nodes, count, deepest


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else "/usr/share/iso-codes/json"
    tree = {
        "countries": countries(folder),
        "currencies": table(read(folder, "4217"), "alpha_3"),
        "former_countries": table(read(folder, "3166-3"), "alpha_4"),
        "language_groups": language_groups(folder),
        "languages": languages(folder),
        "scripts": table(read(folder, "15924"), "alpha_4"),
    }
    sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    nodes, properties, depth = write(None, tree, 0, sys.stdout)
    sys.stdout.write("\n")
    print(
        f"{nodes - 1} nodes below the root, {properties} properties, depth {depth}",
        file=sys.stderr,
    )


main()
