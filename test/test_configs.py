"""Every YAML and XML file that ships is well formed, and says nothing twice."""

import subprocess
import xml.etree.ElementTree
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]


def shipped(*patterns: str) -> list[Path]:
    """Files that Git tracks or would track, hence that a user gets."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", *patterns],
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:  # not a checkout: an unpacked archive
        return sorted(path for pattern in patterns for path in ROOT.glob(f"*/**/{pattern}"))
    return sorted(ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).exists())


YAML_FILES = shipped("*.yaml", "*.yml")
XML_FILES = shipped("*.xml")


class OnceLoader(yaml.SafeLoader):
    """Refuses a key that stands twice in one mapping, which PyYAML lets through."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise ValueError(f"line {node.start_mark.line + 1}: {twice} stands twice")
        return super().construct_mapping(node, deep=deep)


@pytest.mark.parametrize("path", YAML_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_yaml_loads(path: Path) -> None:
    with path.open(encoding="utf-8") as stream:
        documents = list(yaml.load_all(stream, OnceLoader))
    assert documents
    assert all(isinstance(document, dict | list) and document for document in documents)


@pytest.mark.parametrize("path", XML_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_xml_parses(path: Path) -> None:
    xml.etree.ElementTree.parse(path)


def test_there_are_such_files() -> None:
    assert ROOT / "package.xml" in XML_FILES
    assert any(path.parent.name == "config" for path in YAML_FILES)
