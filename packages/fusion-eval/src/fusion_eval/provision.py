"""The files that METEOR and SPICE are made of: which they are, where they are, and how they are had.

Some come with the package pycocoevalcap, whose wheel carries them; the rest are published in Maven's central repository
and fetched by Maven, in the way that the machine is set up for, when a person asks for it. Every file is known by its
SHA-256, and nothing is fetched by a metric.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from xml.sax.saxutils import escape

from fusion_eval.errors import DataError, MissingAssetError
from fusion_eval.files import cache_dir, sha256_file

SETUP_COMMAND = "fusion-eval setup"
WHEEL = "pycocoevalcap"
WHEEL_COMMAND = "pip install 'fusion-eval[aac]'"
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
_LOOK_SECONDS = 0.2
_SHOWN_CHARACTERS = 300
_NAMED = 3  # files that a message names


@dataclass(frozen=True)
class Artifact:
    """A file of a tool.

    Args:
        name: the file's name.
        tool: the metric that needs it.
        size: bytes.
        sha256: of its bytes.
        in_wheel: its place in the wheel of pycocoevalcap, or None.
        coordinates: group, artifact, version and, for some, classifier of what Maven knows it as, or None.
    """

    name: str
    tool: str
    size: int
    sha256: str
    in_wheel: str | None = None
    coordinates: tuple[str, ...] | None = None

    @property
    def place(self) -> Path | None:
        """Where the file belongs: in the installed wheel, or in the user's cache; None without the wheel."""
        if self.in_wheel is None:
            return java_folder() / self.name
        try:
            return Path(str(distribution(WHEEL).locate_file(self.in_wheel)))
        except PackageNotFoundError:
            return None

    @property
    def found(self) -> Path | None:
        """Where the file is, judged by its size, or None."""
        place = self.place
        with contextlib.suppress(OSError):
            if place is not None and place.stat().st_size == self.size:
                return place
        return None


# Tool, place in the tool's folder of the wheel, bytes, SHA-256.
_IN_WHEEL = """
meteor meteor-1.5.jar 6318693 1e57b4c72c0830ebe68558f1c799a624e96cbc1b6045c9f6330e26dcff6eafc2
meteor data/paraphrase-en.gz 61813011 c147ac7d2c91f2fbb3ad31e4b352235061eb83145e0434daf217ee9ca5975f48
spice spice-1.0.jar 19751099 6c6a73ae6dd108667047c1818707590413934dcb9f1a62cef6469059b41b3d59
spice lib/Meteor-1.5.jar 6318623 014a3627d277a6f4ba5b44a20733f8dff28bbb428204c36abfda56565658ba09
spice lib/SceneGraphParser-1.0.jar 164039 83a1b7c3f896dd135f9539ba41d65b155827dfc312893bfd5bb835c9f9ae310a
spice lib/ejml-0.23.jar 301506 12d44e81fdd661ad2aac6384511facf3d8fa003c3ce8d9cec5f22827d1819a26
spice lib/fst-2.47.jar 380882 8c871febc859cf72dbed1c6c1eebc5600c3d93c3e986feccf4623cc5086098cc
spice lib/guava-19.0.jar 2308517 58d4cc2e05ebb012bbac568b032f75623be1cb6fb096f3c60c72a86f7f057de4
spice lib/jackson-core-2.5.3.jar 229998 c9a900c30c702d371be2d3714938dfa6de616599c8eb39f8e3cf7aedd62dfd32
spice lib/javassist-3.19.0-GA.jar 749499 d19c1ef43ccd9cb1b39466bb2f1c8e45c2b6752f1e13a3dfb60096543d1791fa
spice lib/json-simple-1.1.1.jar 23931 4e69696892b88b41c55d49ab2fdcc21eead92bf54acc588c0050596c3b75199c
spice lib/objenesis-2.4.jar 51287 090416e160a7e398f79e0149a7b05ef328b1843898a34e08c1cc170128d326d0
spice lib/slf4j-api-1.7.12.jar 32127 0aee9a77a4940d72932b0d0d9557793f872e66a03f598e473f45e7efecdccf99
"""

# Maven's coordinates (group:artifact:version[:classifier]), bytes, SHA-256. All of them serve SPICE.
_PUBLISHED = """
edu.stanford.nlp:stanford-corenlp:3.6.0 7270741 d341d5863276f55782c5ef73212222d6b3b48e02ae1951ab6de7618d28b12742
edu.stanford.nlp:stanford-corenlp:3.6.0:models 378116526 d285157bd7887ee3018094b5dbae092e49088b023361ccdb550ee1daf9b2c9bd
org.mozilla:rhino:1.7.15 1407735 2427fdcbc149ca0a25ccfbb7c71b01f39ad42708773a47816cd2342861766b63
"""


def _in_wheel(line: str) -> Artifact:
    tool, path, size, sha256 = line.split()
    return Artifact(Path(path).name, tool, int(size), sha256, in_wheel=f"{WHEEL}/{tool}/{path}")


def _published(line: str) -> Artifact:
    coordinates, size, sha256 = line.split()
    _, *name = parts = tuple(coordinates.split(":"))
    return Artifact(f"{'-'.join(name)}.jar", "spice", int(size), sha256, coordinates=parts)


ARTIFACTS = (*map(_in_wheel, _IN_WHEEL.strip().splitlines()), *map(_published, _PUBLISHED.strip().splitlines()))


def java_folder() -> Path:
    """Return the folder of the user's cache that keeps fetched files."""
    return cache_dir() / "java"


def artifacts_of(tool: str) -> list[Artifact]:
    """Return the files that a tool needs."""
    return [artifact for artifact in ARTIFACTS if artifact.tool == tool]


def require(tool: str) -> list[Path]:
    """Return where the files of a tool are.

    Raises:
        MissingAssetError: some are not there; the message names the command that provides them.
    """
    places = {artifact.name: artifact.found for artifact in artifacts_of(tool)}
    missing = [name for name, place in places.items() if place is None]
    if missing:
        named = ", ".join(missing[:_NAMED]) + (f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else "")
        raise MissingAssetError(f"{tool.upper()} needs {named}; run '{mend(artifacts_of(tool))}'.")
    return [place for place in places.values() if place is not None]


def mend(artifacts: Iterable[Artifact]) -> str:
    """Return the command that provides the missing ones among these files."""
    missing = [artifact for artifact in artifacts if artifact.found is None]
    commands = [WHEEL_COMMAND] if any(artifact.in_wheel for artifact in missing) else []
    if any(artifact.coordinates for artifact in missing):
        commands.append(SETUP_COMMAND)
    return " && ".join(commands)


@dataclass(frozen=True)
class Finding:
    """What was found of a file: ``state`` is ok, missing or damaged; ``detail`` is where it is, or how to get it."""

    name: str
    tool: str
    size: int
    state: str
    detail: str


def check(artifact: Artifact) -> Finding:
    """Look for a file and compare its hash."""
    place = artifact.place
    if place is None or not place.is_file():
        return Finding(artifact.name, artifact.tool, artifact.size, "missing", f"run '{mend([artifact])}'")
    if artifact.found is None or sha256_file(place) != artifact.sha256:
        again = SETUP_COMMAND if artifact.coordinates else f"{WHEEL_COMMAND} --force-reinstall"
        return Finding(artifact.name, artifact.tool, artifact.size, "damaged", f"{place}; run '{again}'")
    return Finding(artifact.name, artifact.tool, artifact.size, "ok", str(place))


@dataclass(frozen=True)
class ToolFinding:
    """Whether a tool is there: what it is for, and where it is or how to get it."""

    name: str
    purpose: str
    present: bool
    detail: str


def findings() -> list[ToolFinding]:
    """Look for the tools by the sizes of their files, which costs no time."""
    found = []
    for tool, name, purpose in (("meteor", "METEOR 1.5", "meteor"), ("spice", "SPICE 1.0", "spice and SPIDEr")):
        try:
            folders = dict.fromkeys(str(path.parent) for path in require(tool))
            found.append(ToolFinding(name, purpose, True, ", ".join(folders)))
        except MissingAssetError as error:
            found.append(ToolFinding(name, purpose, False, str(error)))
    return found


def provide(source: Path | None = None, progress: Callable[[int, int], object] | None = None) -> list[Artifact]:
    """Bring every file that Maven knows into the user's cache, and return those that were not there before.

    What is there already and whole stays, also what was whole when an earlier call was interrupted.

    Args:
        source: a folder that has the files somewhere in it, as a copied Maven repository; by default Maven is run.
        progress: is told how many bytes of how many are there.

    Raises:
        MissingAssetError: there is no Maven, it failed, or the folder lacks a file.
        DataError: a file is not the one that is expected.
    """
    wanted = [one for one in ARTIFACTS if one.coordinates and check(one).state != "ok"]
    if not wanted:
        return []
    told = progress or (lambda done, total: None)
    if source is not None:
        for artifact in wanted:
            _install(artifact, _search(source, artifact))
    else:
        _fetch(wanted, told)
    total = sum(artifact.size for artifact in wanted)
    told(total, total)
    return wanted


def _search(source: Path, artifact: Artifact) -> Path:
    """Return a file of the expected name and content in a folder."""
    same_name = sorted(source.rglob(artifact.name))
    for path in same_name:
        if path.is_file() and sha256_file(path) == artifact.sha256:
            return path
    if same_name:
        raise DataError(f"{same_name[0]} is not the published {artifact.name} (its SHA-256 differs); copy it again.")
    raise MissingAssetError(f"{source} has no {artifact.name}; give a folder that has it.")


def _install(artifact: Artifact, path: Path) -> None:
    """Copy a file into the cache, so that no reader sees a part of it.

    Raises:
        DataError: its SHA-256 is not the expected one.
    """
    place = java_folder() / artifact.name
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        shutil.copyfile(path, temporary)
        if sha256_file(temporary) != artifact.sha256:
            raise DataError(f"{artifact.name} as fetched is not the published file (its SHA-256 differs); try again.")
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(place)
    finally:
        temporary.unlink(missing_ok=True)


def _fetch(wanted: Sequence[Artifact], progress: Callable[[int, int], object]) -> None:
    """Let Maven fetch files into a repository of our own, install them and remove it.

    The repository outlives a failure, so that Maven does not fetch again what was whole.
    """
    maven = shutil.which("mvn")
    if maven is None:
        raise MissingAssetError(
            f"Maven (mvn) is not installed, and it fetches {', '.join(one.name for one in wanted)}; install it, as by"
            " 'apt install maven' or 'conda install maven', or give a folder that has them (--from DIR)."
        )
    staging = java_folder() / "maven"
    output = staging / "files"
    output.mkdir(parents=True, exist_ok=True)
    project = staging / "pom.xml"
    project.write_text(_project(wanted), encoding="utf-8")
    command = [maven, "--batch-mode", "--no-transfer-progress", "--file", str(project), _COPY]
    command += [f"-DoutputDirectory={output}", f"-Dmaven.repo.local={staging / 'repository'}"]
    log = staging / "maven.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream)
        try:
            _watch(process, staging / "repository", wanted, progress)
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if process.returncode != 0:
        raise MissingAssetError(f"Maven could not fetch the files: {_complaint(log)} (all of it in {log}).")
    try:
        for artifact in wanted:
            _install(artifact, output / artifact.name)
    except DataError:
        shutil.rmtree(staging)  # a wrong file would be taken again
        raise
    shutil.rmtree(staging)


def _watch(
    process: subprocess.Popen[bytes],
    repository: Path,
    wanted: Sequence[Artifact],
    progress: Callable[[int, int], object],
) -> None:
    """Wait for Maven, and tell how many bytes of the wanted files are there."""
    total = sum(artifact.size for artifact in wanted)
    while process.poll() is None:
        time.sleep(_LOOK_SECONDS)
        sizes = dict.fromkeys((artifact.name for artifact in wanted), 0)
        for folder, _, names in os.walk(repository):
            for name in names:
                whole = name[: name.find(".jar") + len(".jar")].lstrip(".")  # a part has something before or behind
                if whole in sizes:
                    with contextlib.suppress(OSError):
                        sizes[whole] = max(sizes[whole], (Path(folder) / name).stat().st_size)
        progress(sum(min(sizes[artifact.name], artifact.size) for artifact in wanted), total)


def _project(wanted: Sequence[Artifact]) -> str:
    """Return a Maven project that depends on the files alone, and on nothing that they name."""
    none_of_theirs = "<exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions>"
    tags = ("groupId", "artifactId", "version", "classifier")
    dependencies = (
        "".join(f"<{tag}>{escape(part)}</{tag}>" for tag, part in zip(tags, one.coordinates or (), strict=False))
        for one in wanted
    )
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>fusion</groupId><artifactId>files</artifactId><version>1</version><packaging>pom</packaging>"
        f"<dependencies>{''.join(f'<dependency>{one}{none_of_theirs}</dependency>' for one in dependencies)}"
        "</dependencies></project>\n"
    )


def _complaint(log: Path) -> str:
    """Return what Maven gave as its reason."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    errors = [line.removeprefix("[ERROR]").strip() for line in lines if line.startswith("[ERROR]")]
    said = next((line for line in errors if line), lines[-1].strip() if lines else "it said nothing")
    return said[:_SHOWN_CHARACTERS]
