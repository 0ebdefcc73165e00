"""The hub as a registry, beside devpi-server, pypiserver and nginx, on the same work in one run.

One server runs at a time, in one process; `wrk` loads it from a second one over 16 connections. The
hub checks a key with every request and writes durably. The peers are asked without a key, which
favours them; nginx sends files that lie ready and is the ceiling. What is only there to be read is
seeded straight into the hub's database; everything that is timed goes over HTTP::

    python benchmarks/registry.py --markdown table.md

It needs `wrk`, and for their columns `nginx` and `postgresql` (Debian packages). The other peers it
installs by `uv` into build/registry-peers.
"""

import argparse
import base64
import hashlib
import io
import itertools
import json
import math
import os
import platform
import pwd
import random
import re
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version as installed
from pathlib import Path
from uuid import UUID, uuid4

import httpx
from sqlalchemy import Engine, func, insert, select

from benchmarks import peers
from freesolo.domain.names import confusable_key
from freesolo.domain.refs import normalized_name
from freesolo.domain.roles import Visibility
from freesolo.package.archive import Archive, build_archive
from hub_server.db import create_database, create_sessions
from hub_server.environments.service import version_key
from hub_server.models import Environment, EnvironmentVersion, Org, SearchDocument
from hub_server.search.documents import facet, words_of
from tests.ports import free_port

PINS = Path(__file__).with_name("registry_peers.txt")
POSTGRES = Path("/usr/lib/postgresql")
ORG, NAME = "bench", "math"
MANY, FAR = 1000, 10_000
# devpi needs a minute to take as many as this.
DEVPI_MANY, DEVPI_SECONDS = 600, 120
PUBLISHES = 60
MIB = 1 << 20
SEARCHES = 400
JSON_INDEX = {"Accept": "application/vnd.pypi.simple.v1+json"}
SEED = 42

Figures = dict[str, float]


@dataclass(frozen=True)
class Row:
    """A line of the table: what is measured, in what, and what it should come to."""

    key: str
    title: str
    digits: int = 0
    target: str = ""


ROWS = (
    Row("publish", "publish a small version, 1 there already, /s", 1, "≥ 50"),
    Row("publish_many", f"publish, {MANY} there, /s", 1),
    Row("publish_far", f"publish, {FAR} there, /s", 1),
    Row("flat", f"time of a publish, {FAR} there over 1 there", 2, "≤ 1.2"),
    Row("resolve", "resolve the newest version, /s", 0, "≥ 3000; PostgreSQL ≥ 800"),
    Row("not_modified", "the same, not modified (304), /s", 0, "≥ 5000"),
    Row("index", f"index of {MANY} versions, /s", 0, "≥ 40 x devpi, ≥ 90 x pypiserver"),
    Row("simple", "the same as a simple index for pip, /s"),
    Row("download", "download of 1 MiB, /s", 0, "≥ 3 x devpi, ≥ 0.5 x nginx"),
    Row("search_p50", "search, half within, ms", 1),
    Row("search_p99", "search, 99 of 100 within, ms", 1, "< 50"),
    Row("memory", "peak memory of the process, MB", 0, "< 250"),
)


# Servers and load


def load(
    url: str, seconds: int, headers: Mapping[str, str] | None = None, *, expect: int = 200
) -> float:
    """Return how many requests a second are answered, all of them well, after a first one."""
    first = httpx.get(url, headers=headers, timeout=60)
    assert first.status_code == expect, f"{url} is answered {first.status_code}: {first.text}"
    command = ["wrk", "-t2", "-c16", f"-d{seconds}s"]
    for name, value in (headers or {}).items():
        command += ["-H", f"{name}: {value}"]
    output = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in output or "Socket errors" in output:
        raise RuntimeError(f"{url} was not always answered:\n{output}")
    match = re.search(r"Requests/sec:\s+([\d.]+)", output)
    assert match, output
    return float(match[1])


def peak_megabytes(pid: int) -> float:
    """Return the most memory that a process has had, in units of 1,000,000 bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    match = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert match, status
    return int(match[1]) * 1024 / 1e6


def rate(calls: Sequence[Callable[[], httpx.Response]]) -> float:
    """Make calls one after the other and return how many a second that were."""
    began = time.perf_counter()
    for call in calls:
        call().raise_for_status()
    return len(calls) / (time.perf_counter() - began)


# The hub


@dataclass(frozen=True)
class Hub:
    """A hub that runs, with a key to it, and its database to seed."""

    http: httpx.Client
    key: str
    engine: Engine
    folder: Path

    @property
    def headers(self) -> dict[str, str]:
        """What every request carries."""
        return {"Authorization": f"Bearer {self.key}"}

    def url(self, path: str) -> str:
        """Return the address of a path of the hub."""
        return f"{self.http.base_url}{path}"


@contextmanager
def hub_running(folder: Path, database: str) -> Iterator[tuple[Hub, int]]:
    """Run a hub on an empty database; yield it with its process id."""
    folder.mkdir()
    port = free_port()
    settings = {
        "FREESOLO_SERVER_DATA_DIR": str(folder),
        "FREESOLO_SERVER_DATABASE_URL": database,
        "FREESOLO_SERVER_PORT": str(port),
        "FREESOLO_SERVER_RATE_READS": "off",
        "FREESOLO_SERVER_RATE_DOWNLOADS": "off",
        "FREESOLO_SERVER_RATE_WRITES": "off",
    }
    environment = {**os.environ, **settings}  # noqa: TID251 - handed on, not read

    def command(*arguments: str) -> bytes:
        return subprocess.run(
            [sys.executable, "-m", "hub_server", *arguments],
            env=environment,
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ).stdout

    command("migrate")
    key = json.loads(command("create-key", "--org", ORG, "--name", "benchmark"))["api_key"]
    serve = [sys.executable, "-m", "hub_server", "serve"]
    engine = create_database(database)
    with (
        peers.running(serve, port, folder / "log", **settings) as pid,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http,
    ):
        http.headers["Authorization"] = f"Bearer {key}"
        yield Hub(http, key, engine, folder), pid
    engine.dispose()


def measure_hub(folder: Path, database: str, *, seconds: int, environments: int) -> Figures:
    """Return the hub's column."""
    figures: Figures = {}
    with hub_running(folder, database) as (hub, pid):
        publish_rate(hub, ["0.0.1"])
        note(figures, "publish", publish_rate(hub, [f"0.0.{n}" for n in range(2, PUBLISHES + 2)]))
        seed_versions(hub, MANY - 1)
        publish_rate(hub, ["1.0.0"])
        measure_reads(hub, figures, seconds=seconds)
        note(figures, "publish_many", publish_rate(hub, numbered(2, PUBLISHES)))
        seed_versions(hub, FAR)
        note(figures, "publish_far", publish_rate(hub, numbered(3, PUBLISHES)))
        note(figures, "flat", figures["publish"] / figures["publish_far"])
        note(figures, "download", load_archive(hub, seconds=seconds))
        seed_environments(hub, environments)
        measure_search(hub, figures)
        note(figures, "memory", peak_megabytes(pid))
    return figures


def note(figures: Figures, key: str, value: float) -> None:
    """Keep a figure, and show that the run goes on."""
    figures[key] = value
    print(f"  {key}: {value:.1f}", file=sys.stderr)


def numbered(major: int, count: int) -> list[str]:
    """Return versions that no other call returns."""
    return [f"{major}.{minor}.0" for minor in range(count)]


def publish_rate(hub: Hub, versions: Sequence[str]) -> float:
    """Publish versions one after the other and return how many a second that were."""
    return rate(
        [publishing(hub, pack(hub.folder, NAME, version), NAME, version) for version in versions]
    )


def publishing(hub: Hub, archive: Archive, name: str, version: str) -> Callable[[], httpx.Response]:
    """Return the request that publishes an archive."""
    content = archive.path.read_bytes()
    digest = base64.b64encode(
        bytes.fromhex(archive.archive_digest.removeprefix("sha256:"))
    ).decode()
    headers = {"Content-Digest": f"sha-256=:{digest}:"}
    path = f"/v1/envs/{ORG}/{name}/versions/{version}"
    return lambda: hub.http.put(path, content=content, headers=headers)


def pack(folder: Path, name: str, version: str, *, payload: bytes = b"") -> Archive:
    """Pack a small environment, or a large one with a payload."""
    files = {
        "environment.py": b'"""Nothing to do."""\n',
        "environment.toml": f'[environment]\nname = "{name}"\nversion = "{version}"\n'
        'summary = "Sums."\nlicense = "MIT"\ntags = ["math"]\n'.encode(),
        "README.md": b"# Sums\n\nAdd numbers.\n",
        "dataset/train.jsonl": b'{"id": "1", "input": "1+1", "output": "2"}\n' * 20,
        "payload.bin": payload,
    }
    source = folder / "packed" / f"{name}-{version}"
    for path, content in files.items():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_bytes(content)
    return build_archive(source, list(files), source.with_name(f"{source.name}.tar.zst"))


def seed_versions(hub: Hub, total: int) -> None:
    """Copy a published version's row until the environment has `total` versions."""
    with create_sessions(hub.engine).begin() as session:
        of_it = EnvironmentVersion.environment_id.in_(
            select(Environment.id).where(Environment.name == NAME)
        )
        count = session.scalar(select(func.count()).where(of_it)) or 0
        model = session.scalars(select(EnvironmentVersion).where(of_it).limit(1)).one()
        row = {
            column.key: getattr(model, column.key)
            for column in EnvironmentVersion.__table__.columns
        }
        session.execute(
            insert(EnvironmentVersion),
            [{**row, **_own(f"0.{number + 1}.{number}")} for number in range(count, total)],
        )


def _own(version: str) -> dict[str, object]:
    """Return what one seeded version has for itself."""
    digest = hashlib.sha256(version.encode()).hexdigest()
    return {
        "id": uuid4(),
        "version": version,
        "version_key": version_key(version),
        "tree_digest": f"sha256:{digest}",
    }


def measure_reads(hub: Hub, figures: Figures, *, seconds: int) -> None:
    """Load what is answered from memory."""
    path = f"/v1/envs/{ORG}/{NAME}"
    etag = hub.http.get(f"{path}/resolve").raise_for_status().headers["etag"]
    shown = len(hub.http.get(f"{path}/index").raise_for_status().json()["versions"])
    assert shown == MANY, shown
    resolve = hub.url(f"{path}/resolve")
    note(figures, "resolve", load(resolve, seconds, hub.headers))
    unchanged = {**hub.headers, "If-None-Match": etag}
    note(figures, "not_modified", load(resolve, seconds, unchanged, expect=304))
    note(figures, "index", load(hub.url(f"{path}/index"), seconds, hub.headers))
    simple = hub.url(f"/simple-env/{ORG}/{NAME}/fsenv-{ORG}-{NAME}/")
    note(figures, "simple", load(simple, seconds, {**hub.headers, **JSON_INDEX}))


def load_archive(hub: Hub, *, seconds: int) -> float:
    """Publish an archive of 1 MiB and load its download."""
    archive = pack(hub.folder, "large", "1.0.0", payload=random.Random(SEED).randbytes(MIB))
    publishing(hub, archive, "large", "1.0.0")().raise_for_status()
    return load(hub.url(f"/v1/envs/{ORG}/large/versions/1.0.0/archive"), seconds, hub.headers)


# Search


def vocabulary() -> list[str]:
    """Return made-up words; the first ones are used most."""
    chance = random.Random(SEED)
    syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
    return ["".join(chance.choices(syllables, k=chance.randint(2, 4))) for _ in range(4000)]


def seed_environments(hub: Hub, count: int) -> None:
    """Make environments that search finds: four of five are public, the others of a closed org."""
    chance = random.Random(SEED)
    words = vocabulary()
    weights = list(itertools.accumulate(1 / (rank + 1) for rank in range(len(words))))
    now = datetime.now(UTC)
    closed = uuid4()
    with create_sessions(hub.engine).begin() as session:
        ours = session.scalars(select(Org.id).where(Org.slug == ORG)).one()
        org = {"slug": "closed", "name_key": "closed", "confusable_key": "closed"}
        session.execute(insert(Org), [{"id": closed, "created_at": now, **org}])
    for begin in range(0, count, 5000):
        rows, documents = [], []
        for number in range(begin, min(begin + 5000, count)):
            said = chance.choices(words, cum_weights=weights, k=60)
            public = number % 5 != 0
            row = _environment_row(number, said, ours if public else closed, public=public, now=now)
            rows.append(row)
            documents.append(_document(row, said))
        with create_sessions(hub.engine).begin() as session:
            session.execute(insert(Environment), rows)
            session.execute(insert(SearchDocument), documents)


def _environment_row(
    number: int, said: Sequence[str], org_id: UUID, *, public: bool, now: datetime
) -> dict[str, object]:
    name = f"{said[0]}-{said[1]}-{number}"
    return {
        "id": uuid4(),
        "org_id": org_id,
        "name": name,
        "name_key": normalized_name(name),
        "confusable_key": confusable_key(name),
        "visibility": Visibility.PUBLIC if public else Visibility.PRIVATE,
        "summary": " ".join(said[2:12]),
        "license": ("MIT", "Apache-2.0")[number % 2],
        "tags": list(said[12:15]),
        "turn_type": ("single-turn", "multi-turn")[number % 2],
        "latest_version": "1.0.0",
        "downloads": number % 977,
        "created_at": now,
        "updated_at": now - timedelta(minutes=number),
    }


def _document(row: Mapping[str, object], said: Sequence[str]) -> dict[str, object]:
    """Return what the hub itself would have written for search."""
    public = row["visibility"] is Visibility.PUBLIC
    facets = [facet("license", str(row["license"])), facet("turns", str(row["turn_type"]))]
    facets += [facet("tag", tag) for tag in said[12:15]]
    facets += [facet("owner", ORG if public else "closed"), f"org{UUID(str(row['org_id'])).hex}"]
    return {
        "environment_id": row["id"],
        "name": " ".join(words_of(str(row["name"]))),
        "about": " ".join(said[2:15]),
        "text": " ".join(said[15:]),
        "facets": " ".join([*facets, "public"] if public else facets),
    }


def measure_search(hub: Hub, figures: Figures) -> None:
    """Ask for rare and common words, beginnings, and traits, one question after the other."""
    chance = random.Random(SEED)
    words = vocabulary()
    times = []
    for number in range(SEARCHES):
        common, rare = words[chance.randrange(20)], words[chance.randrange(len(words))]
        asked = (
            {"q": f"{common} {rare[:4]}"},
            {"q": common},
            {"q": rare},
            {"q": f"{rare} {common}", "turn_type": "multi-turn"},
            {"q": common[:2], "tag": rare},
        )[number % 5]
        began = time.perf_counter()
        hub.http.get("/v1/search", params=asked).raise_for_status()
        times.append((time.perf_counter() - began) * 1000)
    ordered = sorted(times)
    note(figures, "search_p50", statistics.median(ordered))
    note(figures, "search_p99", ordered[math.ceil(len(ordered) * 0.99) - 1])


# The peers


def sdist(version: str, *, payload: bytes = b"") -> bytes:
    """Return a small source distribution, as the peers take it."""
    buffer = io.BytesIO()
    metadata = f"Metadata-Version: 2.1\nName: bench\nVersion: {version}\n".encode()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in ("PKG-INFO", metadata), ("payload.bin", payload):
            member = tarfile.TarInfo(f"bench-{version}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def uploading(
    http: httpx.Client, path: str, version: str, content: bytes
) -> Callable[[], httpx.Response]:
    """Return the request by which `twine` uploads a distribution."""
    fields = {
        ":action": "file_upload",
        "name": "bench",
        "version": version,
        "filetype": "sdist",
        "pyversion": "source",
        "metadata_version": "2.1",
    }
    files = {"content": (f"bench-{version}.tar.gz", content)}
    return lambda: http.post(path, data=fields, files=files)


def measure_devpi(folder: Path, programs: Path, *, seconds: int) -> Figures:
    """Return devpi-server's column."""
    figures: Figures = {}
    port = free_port()
    subprocess.run(
        [programs / "devpi-init", "--serverdir", folder, "--no-root-pypi"],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    command = [programs / "devpi-server", "--serverdir", folder, "--port", str(port)]
    base = f"http://127.0.0.1:{port}"
    with (
        peers.running(command, port, folder / "log") as pid,
        httpx.Client(base_url=base, timeout=60) as http,
    ):
        login = http.post("/+login", json={"user": "root", "password": ""}).raise_for_status()
        token = f"root:{login.json()['result']['password']}"
        http.headers["X-Devpi-Auth"] = base64.b64encode(token.encode()).decode()
        http.put("/root/bench", json={"type": "stage", "bases": []}).raise_for_status()

        def upload(versions: Sequence[str]) -> float:
            return rate([uploading(http, "/root/bench/", each, sdist(each)) for each in versions])

        upload(["0.0.1"])
        note(figures, "publish", upload([f"0.0.{n}" for n in range(2, 22)]))
        there, deadline = 21, time.monotonic() + DEVPI_SECONDS
        while there < DEVPI_MANY and time.monotonic() < deadline:
            upload([f"1.{there + n}.0" for n in range(10)])
            there += 10
        note(figures, "versions", there)
        note(figures, "publish_many", upload(numbered(2, 5)))
        page = f"{base}/root/bench/+simple/bench/"
        note(
            figures,
            "resolve",
            load(
                page.replace("+simple/bench/", "bench/2.4.0"),
                seconds,
                {"Accept": "application/json"},
            ),
        )
        note(figures, "simple", load(page, seconds, JSON_INDEX))
        figures["index"] = figures["simple"]
        large = sdist("9.0.0", payload=random.Random(SEED).randbytes(MIB))
        uploading(http, "/root/bench/", "9.0.0", large)().raise_for_status()
        links = http.get(page, headers=JSON_INDEX).json()["files"]
        address = next(link["url"] for link in links if "9.0.0" in link["filename"])
        note(
            figures, "download", load(str(httpx.URL(page).join(address)).partition("#")[0], seconds)
        )
        note(figures, "memory", peak_megabytes(pid))
    return figures


def measure_pypiserver(folder: Path, programs: Path, *, seconds: int) -> Figures:
    """Return pypiserver's column."""
    figures: Figures = {}
    packages = folder / "packages"
    packages.mkdir(parents=True)
    for number in range(MANY - PUBLISHES - 1):
        (packages / f"bench-0.{number}.0.tar.gz").write_bytes(sdist(f"0.{number}.0"))
    large = sdist("9.0.0", payload=random.Random(SEED).randbytes(MIB))
    (packages / "bench-9.0.0.tar.gz").write_bytes(large)
    port = free_port()
    address = ["-i", "127.0.0.1", "-p", str(port), "-P", ".", "-a", "."]
    command = [programs / "pypi-server", "run", *address, "--backend", "cached-dir", packages]
    base = f"http://127.0.0.1:{port}"
    with (
        peers.running(command, port, folder / "log") as pid,
        httpx.Client(base_url=base, timeout=60) as http,
    ):
        uploads = [uploading(http, "/", each, sdist(each)) for each in numbered(1, PUBLISHES)]
        note(figures, "publish", rate(uploads))
        note(figures, "simple", load(f"{base}/simple/bench/", seconds))
        figures["index"] = figures["simple"]
        note(figures, "download", load(f"{base}/packages/bench-9.0.0.tar.gz", seconds))
        note(figures, "memory", peak_megabytes(pid))
    return figures


def measure_nginx(folder: Path, *, seconds: int) -> Figures:
    """Return the ceiling: files of the same sizes, sent by one process as they lie there."""
    figures: Figures = {}
    files = folder / "files"
    files.mkdir(parents=True)
    # A line of the hub's index has about this many bytes.
    (files / "index").write_bytes(random.Random(SEED).randbytes(320 * MANY))
    (files / "resolve").write_bytes(bytes(300))
    (files / "download").write_bytes(random.Random(SEED).randbytes(MIB))
    port = free_port()
    (folder / "nginx.conf").write_text(
        f"worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/error;\n"
        "events { worker_connections 1024; }\n"
        f"http {{ access_log off; sendfile on; client_body_temp_path {folder}/body;\n"
        f"proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;\n"
        f"uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;\n"
        f"server {{ listen 127.0.0.1:{port}; root {files}; }} }}\n"
    )
    # Its worker is somebody else, who must get there.
    for place in (folder, *folder.parents):
        if place.is_relative_to(tempfile.gettempdir()) and place != Path(tempfile.gettempdir()):
            place.chmod(0o755)
    command = ["nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder)]
    base = f"http://127.0.0.1:{port}"
    with peers.running(command, port, folder / "log"):
        for key in ("resolve", "index", "download"):
            note(figures, key, load(f"{base}/{key}", seconds))
        etag = httpx.get(f"{base}/resolve").headers["etag"]
        unchanged = {"If-None-Match": etag}
        note(figures, "not_modified", load(f"{base}/resolve", seconds, unchanged, expect=304))
    figures["simple"] = figures["index"]
    return figures


@contextmanager
def postgres_running(folder: Path) -> Iterator[str | None]:
    """Run a PostgreSQL with its own defaults, which are durable; yield None where there is none."""
    found = sorted(POSTGRES.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not found:
        yield None
        return
    folder.mkdir()
    # PostgreSQL refuses to be root.
    user = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else os.geteuid()
    os.chown(folder, user, -1)
    port = free_port()

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [found[-1].with_name(program), "-D", folder / "data", *arguments],
            cwd=folder,
            check=True,
            stdout=subprocess.DEVNULL,
            user=user,
        )

    run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8")
    listening = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1"
    run("pg_ctl", "--wait", "--log", str(folder / "log"), "--options", listening, "start")
    try:
        yield f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"
    finally:
        run("pg_ctl", "--wait", "--mode", "fast", "stop")


# The report


def shown(figures: Figures, row: Row) -> str:
    """Write a figure, or what stands for none."""
    return f"{figures[row.key]:,.{row.digits}f}" if row.key in figures else ""


def compared(ours: Figures, theirs: Figures, row: Row) -> str:
    """Write how many times a peer's figure ours is."""
    if row.key not in ours or row.key not in theirs:
        return ""
    return f"{ours[row.key] / theirs[row.key]:.2g} x"


def side_by_side(columns: Mapping[str, Figures]) -> list[str]:
    """Write the hub on SQLite beside its peers."""
    ours, *peers = columns
    head = [*columns, *(f"/ {peer}" for peer in peers), "target"]
    lines = [f"| | {' | '.join(head)} |", "|---" * (len(head) + 1) + "|"]
    for row in ROWS:
        cells = [shown(figures, row) for figures in columns.values()]
        cells += [compared(columns[ours], columns[peer], row) for peer in peers]
        lines.append(f"| {row.title} | {' | '.join(cells)} | {row.target} |")
    return lines


def measure_all(scratch: Path, options: argparse.Namespace) -> dict[str, Figures]:
    """Measure one server after the other; leave out what is not installed."""
    columns: dict[str, Figures] = {}
    seconds = options.seconds
    sizes = {"seconds": seconds, "environments": options.environments}

    def on_postgresql() -> Figures | None:
        with postgres_running(scratch / "postgres") as url:
            return measure_hub(scratch / "postgresql", url, **sizes) if url else None

    def beside_nginx() -> Figures | None:
        return measure_nginx(scratch / "nginx", seconds=seconds) if shutil.which("nginx") else None

    measures: dict[str, Callable[[], Figures | None]] = {
        "hub": lambda: measure_hub(scratch / "hub", f"sqlite:///{scratch}/hub/hub.db", **sizes),
        "devpi": lambda: measure_devpi(
            scratch / "devpi", peers.installed("registry", PINS), seconds=seconds
        ),
        "pypiserver": lambda: measure_pypiserver(
            scratch / "pypi", peers.installed("registry", PINS), seconds=seconds
        ),
        "nginx": beside_nginx,
        "postgresql": on_postgresql,
    }
    for name, measure in measures.items():
        if name not in (options.only or measures):
            continue
        print(name, file=sys.stderr)
        if (figures := measure()) is None:
            print(f"  {name} is not installed; its figures are left out", file=sys.stderr)
        else:
            columns[name] = figures
    return columns


def report(columns: Mapping[str, Figures], options: argparse.Namespace) -> str:
    """Write both tables, with what they were measured on."""
    beside = {name: figures for name, figures in columns.items() if name != "postgresql"}
    versions = ", ".join([*PINS.read_text().replace("==", " ").split("\n")[:2], *_installed()])
    lines = [
        f"Work: one process each, 16 connections of wrk, {options.seconds} s a figure; "
        f"{options.environments:,} environments to search; publishes one after the other.",
        f"Machine: {platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the "
        f"end; Python {platform.python_version()}, {versions}.",
        "",
        *side_by_side(beside),
    ]
    if devpi := columns.get("devpi"):
        lines += ["", f"devpi was asked for {devpi['versions']:.0f} versions instead of {MANY}."]
    if "postgresql" in columns and "hub" in columns:
        both = {"PostgreSQL": columns["postgresql"], "SQLite": columns["hub"]}
        lines += ["", "The hub on PostgreSQL:", "", *side_by_side(both)]
    return "\n".join(lines)


def _installed() -> Iterator[str]:
    """Yield the names and versions of what else takes part."""
    yield from (f"{name} {installed(name)}" for name in ("fastapi", "uvicorn", "sqlalchemy"))
    for command in ("nginx", "-v"), ("wrk", "-v"):
        if shutil.which(command[0]):
            ended = subprocess.run(command, capture_output=True, text=True, check=False)
            if match := re.search(r"[\d.]+[\d]", ended.stdout + ended.stderr):
                yield f"{command[0]} {match[0]}"


def main() -> None:
    """Measure everything and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=6, help="of load for each figure")
    parser.add_argument("--environments", type=int, default=100_000, help="to search among")
    parser.add_argument("--only", action="append", help="one of the servers; repeatable")
    parser.add_argument("--markdown", type=Path, help="write the tables to this file as well")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="registry") as scratch:
        columns = measure_all(Path(scratch), options)
    text = report(columns, options)
    print(text)
    if options.markdown:
        options.markdown.write_text(text + "\n")


if __name__ == "__main__":
    main()
