"""What is made of an archive at publish, so that it is never read again: wheel, page, report."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from freesolo.domain.manifest import Manifest
from freesolo.domain.refs import EnvRef
from freesolo.package.dataset_report import dataset_report
from freesolo.package.dataset_rows import DATASET
from freesolo.package.wheel import Wheel, build_wheel, read_readme, wheel_files
from freesolo.schemas.contents import DatasetReport
from hub_server.contents.readme import render_readme


@dataclass(frozen=True)
class Description:
    """What a version's readers and installers need. `wheel_path` is a file to be taken over."""

    wheel: Wheel
    wheel_path: Path
    readme_html: str
    dataset: DatasetReport


@contextmanager
def described(
    archive: Path, staging: Path, *, ref: EnvRef, manifest: Manifest
) -> Iterator[Description]:
    """Describe a checked archive; its wheel is a file in `staging` until the block ends.

    Only what nobody can read raises: an odd README or a broken dataset is described as it is.
    """
    path = staging / f"{uuid4().hex}.whl"
    try:
        wheel = build_wheel(archive, path, org=ref.org, name=ref.name, manifest=manifest)
        with path.open("rb") as file:
            html = render_readme(read_readme(file))
            report = dataset_report(wheel_files(file, under=DATASET))
        yield Description(wheel, path, html, report)
    finally:
        path.unlink(missing_ok=True)
