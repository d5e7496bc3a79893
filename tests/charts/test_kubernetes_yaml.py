"""kubectl itself reads a manifest as `darkroom submit` does."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from tests.helpers.kubernetes_words import WORDS
from tools import tool

from darkroom.cluster.kubernetes_yaml import load_all

MERGES = """
apiVersion: darkroom.test/v1
kind: Merges
metadata: {name: merges}
on: a
0400: b
a: &a {x: 1, z: 2}
b: {<<: *a, z: 3}
c: {z: 3, <<: *a}
d: {<<: [{x: 9}, *a]}
e: *a
"""


def by_kubectl(text: str) -> list[Any]:
    """What kubectl makes of a manifest, without a cluster."""
    command = [str(tool("kubectl")), "label", "--local", "-f", "-", "-o", "json", "read=yes"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    decoder, rest, found = json.JSONDecoder(), done.stdout.strip(), []
    while rest:
        value, end = decoder.raw_decode(rest)
        found.append(value)
        rest = rest[end:].strip()
    return found


def test_kubectl_reads_each_word_so() -> None:
    words = "".join(f"  k{index}: {word}\n" for index, word in enumerate(WORDS))
    words = words.replace("|-\n  ", "|-\n    ")
    text = f"apiVersion: darkroom.test/v1\nkind: Words\nmetadata: {{name: words}}\nwords:\n{words}"
    (found,) = by_kubectl(text)
    (ours,) = load_all(text, "x")
    wrong = {
        word: (found["words"][f"k{index}"], ours["words"][f"k{index}"])
        for index, word in enumerate(WORDS)
        if repr(found["words"].get(f"k{index}")) != repr(ours["words"][f"k{index}"])
    }
    assert wrong == {}
    assert list(ours["words"].values()) == list(WORDS.values())


def test_kubectl_merges_so() -> None:
    (found,) = by_kubectl(MERGES)
    (ours,) = load_all(MERGES, "x")
    found["metadata"].pop("labels")
    assert found == ours
