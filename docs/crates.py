#!/usr/bin/env python3
"""Writes docs/crates.md: which crate, its features, and the Rust it needs. With --check, fails if the file is not as it would be
written, if a feature has no comment, if a dependency needs a newer Rust than we say, or if the front pages say something else."""

import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent
PAGE = ROOT / "docs" / "crates.md"

# What is asked, and what answers it.
QUESTIONS = [
    ("pick an endpoint for each request", "evenkeel"),
    ("lead a request by host, path or header to one of several clusters, with splits and retries", "evenkeel"),
    ("a tower `Service`, hyper, axum, tonic, reqwest", "evenkeel-tower"),
    ("a proxy with pingora", "evenkeel-pingora"),
    ("one configuration file for all of it, reloaded while running", "evenkeel-config"),
    ("only a selection algorithm or a hash ring", "evenkeel-balance"),
    ("only a circuit breaker", "evenkeel-breaker"),
    ("only a concurrency limit, a rate, or a budget of retries", "evenkeel-limit"),
    ("only rules, splits, sticky cookies or plans of retries", "evenkeel-route"),
    ("only the health of endpoints: checks, outliers, slow start", "evenkeel-health"),
    ("probe endpoints over the network", "evenkeel-probe"),
    ("only latency and rate estimates", "evenkeel-stats"),
    ("a registry inside one process", "evenkeel-registry"),
    ("endpoints from files", "evenkeel-file"),
    ("endpoints from DNS", "evenkeel-dns"),
    ("endpoints from Kubernetes", "evenkeel-kube"),
    ("endpoints from Envoy's control planes, by xDS", "evenkeel-xds"),
    ("endpoints from etcd, Consul or ZooKeeper", "evenkeel-etcd`, `evenkeel-consul`, `evenkeel-zookeeper"),
    ("an adapter of one's own", "evenkeel-adapter"),
    ("what endpoints say of their load in answers (ORCA)", "evenkeel-orca"),
    ("metrics, traces, dashboards and alerts", "evenkeel-metrics"),
    ("come from nginx, HAProxy or Envoy, or go there", "evenkeel-convert"),
    ("simulate a fleet and compare policies", "evenkeel-sim"),
    ("check that picks are those of other programs", "evenkeel-conformance"),
]


def metadata():
    command = ["cargo", "metadata", "--format-version", "1", "--all-features"]
    return json.loads(subprocess.check_output(command, cwd=ROOT))


def comments(manifest):
    """The `##` lines above each feature, which docs.rs and lib.rs also show."""
    found, above, inside = {}, [], False
    for line in manifest.read_text().splitlines():
        if line.startswith("["):
            inside, above = line == "[features]", []
        elif inside and line.startswith("##"):
            above.append(line.lstrip("# "))
        elif inside and (name := re.match(r'"?([\w-]+)"?\s*=', line)):
            found[name[1]], above = " ".join(above), []
    return found


def version(text):
    return tuple(int(part) for part in (text or "0").split(".")) + (0, 0)


def newest_need(node, packages, nodes):
    """The dependency, of those that a user builds, that needs the newest Rust."""
    seen, todo = set(), [node]
    while todo:
        if (here := todo.pop()) in seen:
            continue
        seen.add(here)
        todo += [
            dependency["pkg"]
            for dependency in nodes[here]["deps"]
            if any(kind["kind"] is None for kind in dependency["dep_kinds"])
        ]
    foreign = [packages[i] for i in seen if packages[i]["source"]]
    return max(foreign, key=lambda p: (version(p["rust_version"])[:3], p["name"]), default=None)


def page():
    data = metadata()
    packages = {package["id"]: package for package in data["packages"]}
    nodes = {node["id"]: node for node in data["resolve"]["nodes"]}
    ours = sorted(data["workspace_members"], key=lambda i: packages[i]["name"])
    ours = [i for i in ours if "/crates/" in packages[i]["manifest_path"]]
    names = {packages[i]["name"] for i in ours}
    wrong = []
    lines = [
        "# Which crate",
        "",
        "<!-- Written by docs/crates.py; change that, or the comments of the features. -->",
        "",
        "| you want | take |",
        "|---|---|",
    ]
    lines += [f"| {q} | `{c}` |" for q, c in QUESTIONS if set(c.split("`, `")) <= names]
    lines += ["", "## Features", "", "| crate | feature | by default | adds |", "|---|---|---|---|"]
    for i in ours:
        package = packages[i]
        said = comments(pathlib.Path(package["manifest_path"]))
        default = package["features"].get("default", [])
        for feature in sorted(set(package["features"]) - {"default"}):
            if not said.get(feature):
                wrong.append(f"{package['name']}: the feature {feature} has no comment `## …` above it")
            is_default = "yes" if feature in default else "no"
            lines.append(f"| `{package['name']}` | `{feature}` | {is_default} | {said.get(feature, '')} |")
    lines += [
        "",
        "## Rust",
        "",
        "The oldest Rust that builds a crate, and the dependency that asks for the newest. CI has one toolchain, the newest stable one:",
        "what is older is kept by clippy's `incompatible_msrv` in our code, and by what dependencies say of themselves.",
        "",
        "| crate | Rust | newest need among its dependencies, all features on |",
        "|---|---|---|",
    ]
    for i in ours:
        package, need = packages[i], newest_need(i, packages, nodes)
        own = package["rust_version"]
        needs = f"`{need['name']}` {need['version']}: {need['rust_version'] or 'says nothing'}" if need else "none"
        if need and version(need["rust_version"])[:3] > version(own)[:3]:
            wrong.append(f"{package['name']} says Rust {own}, but {need['name']} needs {need['rust_version']}")
        lines.append(f"| `{package['name']}` | {own} | {needs} |")
    facade = next(packages[i] for i in ours if packages[i]["name"] == "evenkeel")
    front = (ROOT / "crates" / "evenkeel" / "src" / "lib.rs").read_text()
    for feature in sorted(set(facade["features"]) - {"default"}):
        if f"//! | `{feature}` |" not in front:
            wrong.append(f"the front page of evenkeel does not name the feature {feature}")
    rust = f"Rust {facade['rust_version']}"
    for file in ("README.md", "crates/evenkeel/src/lib.rs"):
        if rust not in (ROOT / file).read_text():
            wrong.append(f"{file} does not say {rust}")
    lines += [
        "",
        "## Versions",
        "",
        "All crates have one version and are released together. Before 1.0 a change that can break a build raises the minor number, all",
        "others the patch number. Such a change is: one to a public item that is not `#[non_exhaustive]` or hidden, to the name or meaning of",
        "a setting, to what a default does to traffic, to the picks of a seed or of a compatible mode, to a field of a report that is",
        "serialised, or to a public dependency's major version (`http`, `tower`, `serde`, `kube`, `pingora-*`, `opentelemetry`). A newer",
        "oldest Rust raises the minor number, and is at least six months old by then.",
    ]
    return "\n".join(lines) + "\n", wrong


def main():
    text, wrong = page()
    if "--check" not in sys.argv:
        PAGE.write_text(text)
    elif not PAGE.exists() or PAGE.read_text() != text:
        wrong.append("docs/crates.md is not what docs/crates.py writes: run it")
    print("\n".join(wrong), end="\n" if wrong else "", file=sys.stderr)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
