#!/usr/bin/env python3
"""Enforces the licences, bans and sources of deny.toml with cargo's metadata alone.

Replaces `cargo deny check bans licenses sources` where cargo-deny is not installed. Supports the settings that
deny.toml uses and fails on any other, so that none is skipped silently. Advisories need a database and are left to
cargo-deny.
"""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REGISTRY = "registry+https://github.com/rust-lang/crates.io-index"
KNOWN = {
    "graph": {"all-features"},
    "licenses": {"allow", "exceptions", "confidence-threshold"},
    "bans": {"multiple-versions", "wildcards", "deny"},
    "sources": {"unknown-registry", "unknown-git"},
    "advisories": {"ignore"},
}
TOKEN = re.compile(r"\(|\)|[^\s()]+")


def main() -> int:
    rules = tomllib.loads((ROOT / "deny.toml").read_text())
    refuse_unknown_rules(rules)
    metadata = read_metadata()
    packages = {package["id"]: package for package in metadata["packages"]}
    problems = check_licenses(rules, packages.values())
    problems += check_bans(rules, metadata, packages)
    problems += check_sources(packages.values())
    problems += check_wildcards(packages.values())
    for problem in problems:
        print(f"check-licenses: {problem}", file=sys.stderr)
    print(f"check-licenses: {len(packages)} packages, {len(problems)} problems")
    return 1 if problems else 0


def refuse_unknown_rules(rules):
    for section, entries in rules.items():
        for entry in entries:
            if entry not in KNOWN.get(section, ()):
                sys.exit(f"check-licenses: [{section}] {entry} of deny.toml is not supported; use cargo-deny")


def read_metadata():
    command = ["cargo", "metadata", "--format-version", "1", "--all-features", "--locked"]
    answer = subprocess.run(command + ["--offline"], cwd=ROOT, capture_output=True, text=True)
    if answer.returncode != 0:  # packages of other platforms may not have been downloaded yet
        answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if answer.returncode != 0:
        sys.exit(f"check-licenses: {' '.join(command)} failed: {answer.stderr}")
    return json.loads(answer.stdout)


def check_licenses(rules, packages):
    allowed = set(rules["licenses"]["allow"])
    exceptions = {row["crate"]: set(row["allow"]) for row in rules["licenses"].get("exceptions", ())}
    return [
        f"{package['name']} {package['version']}: licence '{package['license']}' is not allowed"
        for package in packages
        if not is_allowed(package["license"], allowed | exceptions.get(package["name"], set()))
    ]


def is_allowed(expression, allowed) -> bool:
    """Evaluates a licence expression; '/' is the old way to write OR."""
    if not expression:
        return False
    tokens = TOKEN.findall(expression.replace("/", " OR "))
    result, rest = any_of(tokens, allowed)
    if rest:
        raise ValueError(f"'{expression}' is not a licence expression")
    return result


def any_of(tokens, allowed):
    result, tokens = all_of(tokens, allowed)
    while tokens and tokens[0] == "OR":
        right, tokens = all_of(tokens[1:], allowed)
        result = result or right
    return result, tokens


def all_of(tokens, allowed):
    result, tokens = one_of(tokens, allowed)
    while tokens and tokens[0] == "AND":
        right, tokens = one_of(tokens[1:], allowed)
        result = result and right
    return result, tokens


def one_of(tokens, allowed):
    if tokens[0] == "(":
        result, tokens = any_of(tokens[1:], allowed)
        return result, tokens[1:]
    name, tokens = tokens[0], tokens[1:]
    if tokens and tokens[0] == "WITH":
        name, tokens = f"{name} WITH {tokens[1]}", tokens[2:]
    return name in allowed, tokens


def check_bans(rules, metadata, packages):
    banned = {row["crate"]: row for row in rules["bans"]["deny"]}
    problems = []
    for node in metadata["resolve"]["nodes"]:
        for dependency in node["dependencies"]:
            row = banned.get(packages[dependency]["name"])
            user = packages[node["id"]]["name"]
            if row and user not in row.get("wrappers", ()):
                problems.append(f"{user} depends on {row['crate']}, which is banned: {row['reason']}")
    return problems


def check_sources(packages):
    foreign = [package for package in packages if package["source"] not in (None, REGISTRY)]
    return [f"{package['name']}: comes from {package['source']}" for package in foreign]


def check_wildcards(packages):
    own = [package for package in packages if package["source"] is None]
    return [
        f"{package['name']} depends on any version of {dependency['name']}"
        for package in own
        for dependency in package["dependencies"]
        if dependency["req"] == "*" and dependency.get("path") is None
    ]


if __name__ == "__main__":
    sys.exit(main())
