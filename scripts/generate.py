"""Writes generated/ from protos/ (see scripts/generate). Needs the dev requirements; builds nothing else."""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
GENERATED = ROOT / "generated"
SITE_PACKAGES = sysconfig.get_paths()["purelib"]  # holds google/api and google/rpc of googleapis-common-protos
# Types that errors carry in their details: Envoy can only print what is in the descriptor set.
DETAIL_PROTOS = ["google/rpc/error_details.proto", "google/rpc/status.proto"]


def third_party() -> Path:
    """The folder that holds buf/validate/validate.proto, fetched once from the pinned source archive."""
    folder = ROOT / ".venv" / "third-party-protos"
    proto = folder / "buf/validate/validate.proto"
    if proto.exists():
        return folder
    with tempfile.TemporaryDirectory() as scratch:
        pins = ROOT / "scripts/third-party-protos.txt"
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "protovalidate"]
        subprocess.run([*command, "--require-hashes", "-r", str(pins), "-d", scratch], check=True)
        (archive,) = Path(scratch).glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            (member,) = [m for m in tar.getmembers() if m.name.endswith("upstream/proto/buf/validate/validate.proto")]
            content = tar.extractfile(member)
            if content is None:
                raise SystemExit("the source archive of protovalidate holds no validate.proto")
            proto.parent.mkdir(parents=True, exist_ok=True)
            scratch_file = proto.with_suffix(".tmp")
            scratch_file.write_bytes(content.read())
            scratch_file.replace(proto)
    return folder


def protoc(*arguments: str) -> None:
    """Runs the protoc of grpcio-tools with our import paths."""
    paths = [f"-I{PROTOS}", f"-I{third_party()}", f"-I{SITE_PACKAGES}"]
    bin_folder = str(Path(sys.executable).parent)  # protoc-gen-mypy lies there
    env = {**os.environ, "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *paths, *arguments], check=True, env=env)


def write(target: Path) -> None:
    """Writes everything below target."""
    ours = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    services = [path for path in ours if path.endswith("_service.proto")]
    target.mkdir(parents=True, exist_ok=True)
    protoc(f"--python_out={target}", f"--mypy_out={target}", *ours, "buf/validate/validate.proto")
    protoc(f"--grpc_python_out={target}", f"--mypy_grpc_out={target}", *services)
    (target / "descriptors").mkdir(exist_ok=True)
    inputs = [*ours, *DETAIL_PROTOS]
    descriptor = target / "descriptors/tillmesh.binpb"
    protoc("--include_imports", f"--descriptor_set_out={descriptor}", *inputs)
    with tempfile.TemporaryDirectory() as scratch:
        commented = Path(scratch) / "commented.binpb"
        protoc("--include_imports", "--include_source_info", f"--descriptor_set_out={commented}", *inputs)
        openapi = [sys.executable, str(ROOT / "scripts/openapi.py"), str(commented), str(target / "openapi.json")]
        subprocess.run(openapi, check=True)


def differences(left: Path, right: Path) -> list[str]:
    """Paths that differ between two trees, caches aside."""
    names = {p.relative_to(base) for base in (left, right) for p in base.rglob("*") if p.is_file()}
    kept = sorted(name for name in names if "__pycache__" not in name.parts)
    missing = [n for n in kept if not ((left / n).exists() and (right / n).exists())]
    changed = [n for n in kept if n not in missing and not filecmp.cmp(left / n, right / n, shallow=False)]
    return [str(name) for name in missing + changed]


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch) / "generated"
        write(fresh)
        if "--check" in sys.argv:
            if stale := differences(fresh, GENERATED):
                raise SystemExit("generated/ is not what protos/ says; run scripts/generate: " + ", ".join(stale))
            return
        shutil.rmtree(GENERATED, ignore_errors=True)
        shutil.copytree(fresh, GENERATED)


if __name__ == "__main__":
    main()
