"""Export and import: the same bytes each time, readable by the usual tools, nothing believed."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import tasks.store.user_namespace  # noqa: F401 - another user may not read the interpreter
from tasks.errors import ContentError, DeclarationError, DigestMismatch, StoreError, UnsafeEntry
from tasks.export import export_bundle
from tasks.import_bundle import import_bundle, imported_name
from tasks.oci.entry import DIRECTORY, FILE, SYMLINK, Entry
from tasks.store.recorded_entries import load_entries
from tasks.store.tree_check import first_difference
from tests.support.other_user import as_other_user
from tests.support.trees import make_bundle, scan_entries, write_entries

KINDS = ["x.tar", "x.tar.gz", "x.tar.zst", "x"]
ARCHIVES = KINDS[:3]
ROOT = Path(__file__).resolve().parents[2]
GOLDEN_ARCHIVE = "58452d20c1a0f6a07d2a8c66e895d26c79e674326c6454e76940e92aa745887c"


@pytest.fixture
def bundle(tmp_path: Path) -> tuple[Path, Path]:
    return make_bundle(tmp_path)


def export(made: tuple[Path, Path], destination: Path) -> Path:
    export_bundle(bundle=made[0], entries=made[1], destination=destination, name="hello")
    return destination


def bring_in(source: Path, where: Path, expected: str | None = None) -> str:
    return import_bundle(
        source=source,
        destination=where / "imported",
        entries=where / "imported.jsonl",
        expected=expected,
    )


def lines(entries: list[Entry]) -> bytes:
    return b"".join(entry.to_line() for entry in entries)


@pytest.mark.parametrize("kind", KINDS)
def test_import_gives_back_every_entry_of_the_export(
    kind: str, bundle: tuple[Path, Path], tmp_path: Path
) -> None:
    source = export(bundle, tmp_path / kind)
    digest = bring_in(source, tmp_path)
    assert digest.startswith("sha256:")
    assert imported_name(source) == "hello"
    assert (tmp_path / "imported.jsonl").read_bytes() == bundle[1].read_bytes()
    assert lines(scan_entries(tmp_path / "imported" / "rootfs")) == bundle[1].read_bytes()
    assert sorted(os.listdir(tmp_path / "imported")) == ["config.json", "rootfs"]
    assert (tmp_path / "imported" / "config.json").read_bytes() == (
        bundle[0] / "config.json"
    ).read_bytes()


@pytest.mark.parametrize("kind", ARCHIVES)
def test_export_twice_gives_the_same_bytes_after_touching_everything(
    kind: str, bundle: tuple[Path, Path], tmp_path: Path
) -> None:
    first = export(bundle, tmp_path / f"1-{kind}").read_bytes()
    subprocess.run(["find", bundle[0], "-exec", "touch", "-h", "{}", "+"], check=True)
    subprocess.run(["chown", "-hR", "99:99", bundle[0]], check=True)
    subprocess.run(["chmod", "-R", "a+rwX", bundle[0]], check=True)
    assert export(bundle, tmp_path / f"2-{kind}").read_bytes() == first


@pytest.mark.parametrize("tool", ["tar", "bsdtar", "python"])
def test_export_is_unpacked_faithfully_by(
    tool: str, bundle: tuple[Path, Path], tmp_path: Path
) -> None:
    source = export(bundle, tmp_path / "x.tar.gz")
    out = tmp_path / "out"
    out.mkdir()
    if tool == "python":
        with tarfile.open(source) as archive:
            names = archive.getnames()
        expected = len(bundle[1].read_bytes().splitlines()) + 3
        assert len(names) == len(set(names)) == expected
        return
    options = ["--xattrs", "--xattrs-include=*"] if tool == "tar" else ["--xattrs"]
    subprocess.run([tool, *options, "--numeric-owner", "-xpf", source, "-C", out], check=True)
    assert lines(scan_entries(out / "rootfs")) == bundle[1].read_bytes()


def test_a_directory_unpacked_by_an_ordinary_tar_can_be_imported(
    bundle: tuple[Path, Path], tmp_path: Path
) -> None:
    source = export(bundle, tmp_path / "x.tar")
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(
        ["tar", "--no-same-owner", "--no-same-permissions", "-xmf", source, "-C", out], check=True
    )
    bring_in(out, tmp_path)
    assert lines(scan_entries(tmp_path / "imported" / "rootfs")) == bundle[1].read_bytes()


def test_an_ordinary_users_export_has_the_true_owners(
    bundle: tuple[Path, Path], tmp_path: Path
) -> None:
    as_root = export(bundle, tmp_path / "root.tar").read_bytes()
    other = tmp_path / "other"
    (other / "state" / "rootfs").mkdir(parents=True)
    shutil.copy(bundle[0] / "config.json", other / "state")
    shutil.copy(bundle[1], other / "entries.jsonl")
    for entry in load_entries(bundle[1]):
        path = os.path.join(os.fsencode(other), b"state/rootfs", entry.path)
        if entry.type == DIRECTORY and entry.path:
            os.mkdir(path)
        elif entry.type == FILE:
            shutil.copyfile(os.path.join(os.fsencode(bundle[0]), b"rootfs", entry.path), path)
    subprocess.run(["chown", "-hR", "4242:4242", other], check=True)
    as_other_user(
        lambda: export((other / "state", other / "entries.jsonl"), Path("user.tar")), cwd=other
    )
    assert (other / "user.tar").read_bytes() == as_root


@pytest.mark.parametrize("kind", KINDS)
def test_verify_finds_no_difference_in_what_was_imported(
    kind: str, bundle: tuple[Path, Path], tmp_path: Path
) -> None:
    source = export(bundle, tmp_path / kind)
    gaps = tmp_path / "gaps"
    import_bundle(
        source=source,
        destination=tmp_path / "imported",
        entries=tmp_path / "imported.jsonl",
        unrepresented=gaps,
    )
    assert gaps.read_bytes() == b""
    assert first_difference(tmp_path / "imported" / "rootfs", bundle[1], gaps) is None


def test_an_ordinary_users_import_keeps_the_owners_beside_the_files(
    bundle: tuple[Path, Path], tmp_path: Path
) -> None:
    source = export(bundle, tmp_path / "x.tar.gz")
    source.chmod(0o644)
    other = tmp_path / "other"
    other.mkdir()
    os.chown(other, 4242, 4242)

    def work() -> None:
        import_bundle(
            source=source,
            destination=Path("imported"),
            entries=Path("imported.jsonl"),
            unrepresented=Path("gaps"),
        )
        assert (
            first_difference(Path("imported/rootfs"), Path("imported.jsonl"), Path("gaps")) is None
        )

    as_other_user(work, cwd=other)
    assert (other / "imported.jsonl").read_bytes() == bundle[1].read_bytes()
    gaps = [json.loads(line) for line in (other / "gaps").read_bytes().splitlines()]
    assert {gap["path"] for gap in gaps if gap["what"] == "device"} == {"loop", "null"}
    assert os.getxattr(other / "imported/rootfs/big", "user.rootlesscontainers")
    export_as = tmp_path / "again.tar.gz"
    export((other / "imported", other / "imported.jsonl"), export_as)
    assert export_as.read_bytes() == source.read_bytes()


def test_runc_runs_an_unpacked_export(tmp_path: Path) -> None:
    made = tmp_path / "made"
    (made / "rootfs" / "bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", made / "rootfs" / "bin" / "busybox")
    subprocess.run(["runc", "spec"], cwd=made, check=True)
    config = (made / "config.json").read_text()
    config = config.replace('"terminal": true', '"terminal": false')
    config = config.replace('"sh"', '"/bin/busybox", "echo", "from an export"')
    (made / "config.json").write_text(config)
    write_entries(tmp_path / "entries", scan_entries(made / "rootfs"))
    source = export((made, tmp_path / "entries"), tmp_path / "x.tar.zst")
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(["tar", "--zstd", "-xpf", source, "-C", out], check=True)
    name = f"export-{os.getpid()}"
    done = subprocess.run(
        ["runc", "--root", tmp_path / "runc", "run", "--bundle", out, name],
        check=True,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.stdout == "from an export\n"


@pytest.mark.parametrize("kind", KINDS)
def test_export_refuses_to_overwrite(kind: str, bundle: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / kind).write_text("mine")
    with pytest.raises(StoreError, match="exists already"):
        export(bundle, tmp_path / kind)
    assert (tmp_path / kind).read_text() == "mine"


@pytest.mark.parametrize("name", ["x.zip", "x.gz", "x.tar.xz", "x.tar.bz2", "x.zst", "x.7z"])
def test_export_refuses_an_archive_it_cannot_write(
    name: str, bundle: tuple[Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(DeclarationError, match="kind of archive"):
        export(bundle, tmp_path / name)


@pytest.mark.parametrize("kind", KINDS)
def test_export_names_the_file_that_was_changed_after_the_build(
    kind: str, bundle: tuple[Path, Path], tmp_path: Path
) -> None:
    (bundle[0] / "rootfs" / "d-sorts-between").write_bytes(b"y" * 512)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(DigestMismatch, match="/d-sorts-between"):
        export(bundle, tmp_path / kind)
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize("kind", ["x.tar", "x"])
def test_a_killed_export_leaves_no_name_and_the_next_one_succeeds(
    kind: str, bundle: tuple[Path, Path], tmp_path: Path
) -> None:
    program = (
        "import sys, time; from pathlib import Path;"
        "import tasks.export as step; made, entries, to = map(Path, sys.argv[1:]);"
        "slow = lambda tree, entry: (print('at work', flush=True), time.sleep(60));"
        "step.TreeContent.of = slow;"
        "step.export_bundle(bundle=made, entries=entries, destination=to)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, bundle[0], bundle[1], tmp_path / kind],
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"at work\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert not (tmp_path / kind).exists()
    export(bundle, tmp_path / kind)
    assert not [name for name in os.listdir(tmp_path) if "partial" in name]
    bring_in(tmp_path / kind, tmp_path)


@pytest.mark.parametrize("seed", range(40))
def test_import_refuses_an_archive_with_one_changed_byte(
    seed: int, bundle: tuple[Path, Path], tmp_path: Path
) -> None:
    content = bytearray(export(bundle, tmp_path / "x.tar").read_bytes())
    after_the_card = content.index(b"entries.jsonl")  # Its name of the bundle is only a proposal.
    place = random.Random(seed).randrange(after_the_card, len(content))
    content[place] ^= 1 << random.Random(seed).randrange(8)
    (tmp_path / "bad.tar").write_bytes(content)
    with pytest.raises((ContentError, UnsafeEntry)):
        bring_in(tmp_path / "bad.tar", tmp_path)
    assert not [found for found in os.listdir(tmp_path) if "partial" in found]


@pytest.mark.parametrize(
    "cut", [0, 1, 511, 512, 513, 5000, -1, -512, -1024], ids=lambda cut: f"at {cut}"
)
@pytest.mark.parametrize("kind", ARCHIVES)
def test_import_refuses_a_cut_archive(
    kind: str, cut: int, bundle: tuple[Path, Path], tmp_path: Path
) -> None:
    content = export(bundle, tmp_path / kind).read_bytes()
    if (kind, cut) == ("x.tar.zst", -1):
        cut = -8  # The last four bytes are zstd's own checksum, which says nothing new.
    (tmp_path / f"cut-{kind}").write_bytes(content[:cut])
    with pytest.raises(ContentError):
        bring_in(tmp_path / f"cut-{kind}", tmp_path)
    assert not (tmp_path / "imported").exists()


def test_import_refuses_bytes_behind_the_end(bundle: tuple[Path, Path], tmp_path: Path) -> None:
    content = export(bundle, tmp_path / "x.tar").read_bytes()
    (tmp_path / "long.tar").write_bytes(content + b"\0" * 512)
    with pytest.raises(ContentError, match="at the end"):
        bring_in(tmp_path / "long.tar", tmp_path)


def test_import_tells_what_to_do_with_a_tar_that_was_packed_again(
    bundle: tuple[Path, Path], tmp_path: Path
) -> None:
    source = export(bundle, tmp_path / "x.tar")
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(["tar", "-xpf", source, "-C", out], check=True)
    subprocess.run(["tar", "-cf", tmp_path / "again.tar", "-C", out, "."], check=True)
    with pytest.raises(ContentError, match="import the directory"):
        bring_in(tmp_path / "again.tar", tmp_path)


def test_import_refuses_another_digest_than_the_expected_one(
    bundle: tuple[Path, Path], tmp_path: Path
) -> None:
    source = export(bundle, tmp_path / "x.tar")
    with pytest.raises(DigestMismatch):
        bring_in(source, tmp_path, expected="sha256:" + "0" * 64)
    assert not (tmp_path / "imported").exists()


def entry(path: bytes, kind: str = FILE, **more: object) -> Entry:
    sha = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" if kind == FILE else ""
    plain = Entry(path=path, type=kind, mode=0o755, uid=0, gid=0, mtime=0, sha256=sha)
    return plain.replacing(**more)


HOSTILE = {
    "dot dot": [entry(b"", DIRECTORY), entry(b"../evil")],
    "dot dot inside": [entry(b"", DIRECTORY), entry(b"a", DIRECTORY), entry(b"a/../../evil")],
    "absolute": [entry(b"", DIRECTORY), entry(b"/evil")],
    "dot": [entry(b"", DIRECTORY), entry(b"./evil")],
    "through a symlink": [
        entry(b"", DIRECTORY),
        entry(b"a", SYMLINK, target=b"/tmp"),
        entry(b"a/evil"),
    ],
    "beneath a file": [entry(b"", DIRECTORY), entry(b"a"), entry(b"a/evil")],
    "hard link out": [entry(b"", DIRECTORY), entry(b"a", hard_link=b"../../../../etc/passwd")],
    "hard link to a symlink as a file": [
        entry(b"", DIRECTORY),
        entry(b"a", SYMLINK, target=b"/etc/passwd"),
        entry(b"b", hard_link=b"a"),
    ],
    "hard link to a directory": [
        entry(b"", DIRECTORY),
        entry(b"a", DIRECTORY),
        entry(b"b", DIRECTORY, hard_link=b"a"),
    ],
    "twice": [entry(b"", DIRECTORY), entry(b"a"), entry(b"a")],
    "unknown type": [entry(b"", DIRECTORY), entry(b"a", "socket")],
    "mode out of range": [entry(b"", DIRECTORY), entry(b"a", mode=0o100755)],
    "owner out of range": [entry(b"", DIRECTORY), entry(b"a", uid=-1)],
    "device without numbers": [entry(b"", DIRECTORY), entry(b"a", "char")],
    "the root is a link": [entry(b"", SYMLINK, target=b"/")],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_import_refuses_hostile_entries(name: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "rootfs").mkdir(parents=True)
    (source / "config.json").write_bytes(b"{}")
    write_entries(source / "entries.jsonl", HOSTILE[name])
    from tasks.bundle import bundle_digest
    from tasks.store.bundle_archive import card

    digest = bundle_digest(entries=source / "entries.jsonl", config_json=source / "config.json")
    (source / "doit-oci.json").write_bytes(card(name="evil", digest=digest))
    outside = sorted(os.listdir(tmp_path))
    with pytest.raises((ContentError, UnsafeEntry)):
        bring_in(source, tmp_path)
    assert sorted(os.listdir(tmp_path)) == outside


def test_gzip_carries_neither_name_nor_time(bundle: tuple[Path, Path], tmp_path: Path) -> None:
    content = export(bundle, tmp_path / "x.tar.gz").read_bytes()
    assert content[:10] == b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    plain = export(bundle, tmp_path / "x.tar").read_bytes()
    assert gzip.decompress(content) == plain


def test_source_date_epoch_is_the_time_of_our_own_files(
    bundle: tuple[Path, Path], tmp_path: Path
) -> None:
    export_bundle(
        bundle=bundle[0],
        entries=bundle[1],
        destination=tmp_path / "x.tar",
        source_date_epoch=1_700_000_000,
    )
    with tarfile.open(tmp_path / "x.tar") as archive:
        assert archive.getmember("config.json").mtime == 1_700_000_000
        assert archive.getmember("rootfs/bin/hello").mtime != 1_700_000_000
    bring_in(tmp_path / "x.tar", tmp_path)


def test_archive_bytes_are_the_golden_ones_on_every_python(tmp_path: Path) -> None:
    (tmp_path / "made" / "rootfs").mkdir(parents=True)
    (tmp_path / "made" / "config.json").write_bytes(b"{}\n")
    write_entries(
        tmp_path / "entries",
        [
            entry(b"", DIRECTORY),
            entry(b"dev", "char", device=(1, 3), uid=3_000_000),
            entry(b"l" * 101, SYMLINK, target=b"t\xe9" * 60, mtime=-1_500_000_000),
            entry(b"p" * 99, "fifo", mtime=1_700_000_000_123_456_789),
        ],
    )
    source = export((tmp_path / "made", tmp_path / "entries"), tmp_path / "x.tar")
    found = hashlib.sha256(source.read_bytes()).hexdigest()
    assert found == GOLDEN_ARCHIVE
