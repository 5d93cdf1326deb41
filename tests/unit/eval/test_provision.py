"""The tools' files: found, checked by hash, fetched by Maven or taken from a folder, and named when they are missing."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import xml.etree.ElementTree as ElementTree

import pytest
from fusion_eval import provision
from fusion_eval.errors import DataError, MissingAssetError
from fusion_eval.provision import ARTIFACTS, Artifact

CONTENT = {"one-1.0.jar": b"first", "two-2.0-models.jar": b"second" * 1000}
COORDINATES = {"one-1.0.jar": ("org.one", "one", "1.0"), "two-2.0-models.jar": ("org.two", "two", "2.0", "models")}

# It does what the real one is asked to do: copy what the project depends on into the output folder.
MAVEN = f"""#!{sys.executable}
import os, pathlib, sys
import xml.etree.ElementTree as ElementTree
options = dict(part[2:].split("=", 1) for part in sys.argv if part.startswith("-D"))
project = ElementTree.parse(sys.argv[sys.argv.index("--file") + 1])
space = "{{http://maven.apache.org/POM/4.0.0}}"
source, output = pathlib.Path(os.environ["FAKE_SOURCE"]), pathlib.Path(options["outputDirectory"])
repository = pathlib.Path(options["maven.repo.local"])
repository.mkdir(parents=True, exist_ok=True)
for one in project.iter(space + "dependency"):
    parts = [one.findtext(space + tag) for tag in ("artifactId", "version", "classifier")]
    name = "-".join(part for part in parts if part) + ".jar"
    if not (source / name).exists():
        print("[INFO] Scanning for projects...")
        print("[ERROR] Could not resolve", name)
        sys.exit(1)
    (repository / (name + ".part")).write_bytes((source / name).read_bytes())
    (output / name).write_bytes((source / name).read_bytes())
"""


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    """Two small files instead of the real ones, and a cache of their own."""
    monkeypatch.setenv("FUSION_CACHE", str(tmp_path / "cache"))
    artifacts = tuple(
        Artifact(name, "spice", len(data), hashlib.sha256(data).hexdigest(), coordinates=COORDINATES[name])
        for name, data in CONTENT.items()
    )
    monkeypatch.setattr(provision, "ARTIFACTS", artifacts)
    return artifacts


@pytest.fixture
def source(tmp_path):
    """A folder that holds the files somewhere in it."""
    folder = tmp_path / "source"
    folder.mkdir()
    for name, data in CONTENT.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def maven(tmp_path, source, monkeypatch):
    """A program that does Maven's part."""
    program = tmp_path / "bin" / "mvn"
    program.parent.mkdir()
    program.write_text(MAVEN)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.setenv("FAKE_SOURCE", str(source))
    return program


def _states() -> list[str]:
    return [provision.check(artifact).state for artifact in provision.ARTIFACTS]


def test_what_is_missing_is_named_with_the_command():
    assert _states() == ["missing", "missing"]
    with pytest.raises(
        MissingAssetError, match=r"^SPICE needs one-1.0.jar, two-2.0-models.jar; run 'fusion-eval setup'\.$"
    ):
        provision.require("spice")
    (spice,) = (finding for finding in provision.findings() if finding.name == "SPICE 1.0")
    assert not spice.present
    assert "fusion-eval setup" in spice.detail


def test_a_file_of_the_wheel_needs_the_wheel(monkeypatch):
    absent = Artifact("tool.jar", "spice", 5, "0" * 64, in_wheel="no_such_package_here/tool.jar")
    monkeypatch.setattr(provision, "ARTIFACTS", (absent, *provision.ARTIFACTS))
    monkeypatch.setattr(provision, "WHEEL", "no-such-package-here")
    assert absent.place is None
    with pytest.raises(MissingAssetError, match=r"pip install 'fusion-eval\[aac\]' && fusion-eval setup"):
        provision.require("spice")


def test_maven_provides_all_and_tells_how_far_it_is(maven):
    told = []
    assert provision.provide(progress=lambda done, total: told.append((done, total))) == list(provision.ARTIFACTS)
    assert _states() == ["ok", "ok"]
    assert [path.read_bytes() for path in provision.require("spice")] == list(CONTENT.values())
    total = sum(map(len, CONTENT.values()))
    assert told[-1] == (total, total)
    assert all(0 <= done <= of == total for done, of in told)
    assert not (provision.java_folder() / "maven").exists()


def test_what_is_there_is_not_fetched_again(maven, source):
    provision.provide()
    (source / "one-1.0.jar").unlink()
    assert provision.provide() == []
    place = provision.java_folder() / "two-2.0-models.jar"
    place.write_bytes(b"SECOND" * 1000)
    assert provision.check(provision.ARTIFACTS[1]).state == "damaged"
    assert [artifact.name for artifact in provision.provide()] == ["two-2.0-models.jar"]
    assert _states() == ["ok", "ok"]


def test_a_failure_of_maven_says_why_and_keeps_what_it_fetched(maven, source):
    (source / "two-2.0-models.jar").rename(source / "elsewhere")
    with pytest.raises(
        MissingAssetError, match=r"Maven could not fetch the files: Could not resolve two-2\.0-models\.jar"
    ):
        provision.provide()
    assert (provision.java_folder() / "maven" / "repository" / "one-1.0.jar.part").exists()
    assert _states() == ["missing", "missing"]
    (source / "elsewhere").rename(source / "two-2.0-models.jar")
    provision.provide()
    assert _states() == ["ok", "ok"]


def test_another_file_under_the_name_is_refused(maven, source):
    (source / "one-1.0.jar").write_bytes(b"other")
    with pytest.raises(DataError, match=r"one-1\.0\.jar as fetched is not the published file"):
        provision.provide()
    assert _states() == ["missing", "missing"]
    assert not (provision.java_folder() / "maven").exists()
    with pytest.raises(DataError, match=r"is not the published one-1\.0\.jar"):
        provision.provide(source)


def test_without_maven_the_mend_is_said(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingAssetError, match=r"Maven \(mvn\) is not installed.*apt install maven.*--from DIR"):
        provision.provide()


def test_a_folder_provides_all(source):
    deep = source / "repository" / "org"
    deep.mkdir(parents=True)
    for name in CONTENT:
        (source / name).rename(deep / name)
    provision.provide(source)
    assert _states() == ["ok", "ok"]


def test_a_folder_without_a_file_is_refused(source):
    (source / "one-1.0.jar").unlink()
    with pytest.raises(MissingAssetError, match=r"has no one-1\.0\.jar"):
        provision.provide(source)


def test_a_full_disk_leaves_no_part(source, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space left"):
        provision.provide(source)
    assert list(provision.java_folder().iterdir()) == []


def test_the_project_names_exactly_the_files():
    root = ElementTree.fromstring(provision._project(provision.ARTIFACTS))
    space = "{http://maven.apache.org/POM/4.0.0}"
    found = [tuple(part.text for part in one if not len(part)) for one in root.iter(f"{space}dependency")]
    assert found == list(COORDINATES.values())


def test_the_real_files_are_pinned():
    assert len({artifact.name for artifact in ARTIFACTS}) == len(ARTIFACTS)
    assert all(len(artifact.sha256) == 64 and artifact.size > 0 for artifact in ARTIFACTS)
    assert all((artifact.in_wheel is None) != (artifact.coordinates is None) for artifact in ARTIFACTS)
    assert {artifact.tool for artifact in ARTIFACTS} == {"meteor", "spice"}


@pytest.mark.parametrize("artifact", [one for one in ARTIFACTS if one.in_wheel], ids=lambda one: one.name)
def test_the_files_of_the_wheel_are_the_pinned_ones(artifact):
    if artifact.place is None:
        pytest.skip("pycocoevalcap is not installed")
    assert provision.check(artifact).state == "ok"
