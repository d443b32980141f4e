"""Tars, their differences and merges, and cpio archives: small trees, no root."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from nxc_core import cpio
from nxc_debian import tars

EPOCH = 1_700_000_000


def tree(root: Path, files: dict[str, str | None]) -> Path:
    """Make files with their text; None makes a folder."""
    for name, text in files.items():
        path = root / name
        if text is None:
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return root


def pack(path: Path, entries: list[tars.Entry]) -> Path:
    tars.write(path, entries)
    return path


def names(path: Path) -> list[str]:
    with tarfile.open(path) as tar:
        return tar.getnames()


def text(path: Path, name: str) -> str:
    with tarfile.open(path) as tar:
        stream = tar.extractfile(name)
        assert stream is not None
        return stream.read().decode()


def test_two_trees_of_other_order_and_times_give_one_tar(tmp_path: Path) -> None:
    one = tree(tmp_path / "one", {"a": "1", "b/c": "2", "b.d": "3"})
    two = tree(tmp_path / "two", {"b.d": "3", "b/c": "2", "a": "1"})
    os.utime(two / "a", (EPOCH + 99, EPOCH + 99))
    digests = {tars.write(tmp_path / f"{root.name}.tar", tars.scan(root, EPOCH)) for root in (one, two)}
    assert len(digests) == 1
    assert names(tmp_path / "one.tar") == [".", "./a", "./b", "./b/c", "./b.d"]


def test_gnu_tar_agrees(tmp_path: Path) -> None:
    root = tree(tmp_path / "root", {"x/" + "long" * 40: "content", "empty": "", "folder": None})
    (root / "link").symlink_to("/nowhere")
    os.link(root / "empty", root / "second")
    path = pack(tmp_path / "a.tar", list(tars.scan(root, EPOCH)))
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(["tar", "-C", out, "-xf", path], check=True)

    assert (out / ("x/" + "long" * 40)).read_text() == "content"
    assert str((out / "link").readlink()) == "/nowhere"
    assert (out / "second").stat().st_nlink == 2
    assert int((out / "empty").stat().st_mtime) == EPOCH


def test_times_earlier_than_the_epoch_are_kept(tmp_path: Path) -> None:
    root = tree(tmp_path / "root", {"old": ""})
    os.utime(root / "old", (5, 5))
    assert {entry.name: entry.mtime for entry in tars.scan(root, EPOCH)} == {"": EPOCH, "old": 5}


def test_folders_that_are_mounted_over_are_empty(tmp_path: Path) -> None:
    root = tree(tmp_path / "root", {"dev/null": "", "etc/x": ""})
    assert [entry.name for entry in tars.scan(root, EPOCH, skip=("dev",))] == ["", "dev", "etc", "etc/x"]


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    root = tree(tmp_path / "root", {"log": "123456"})
    entries = list(tars.scan(root, EPOCH))
    (root / "log").write_text("1")
    with pytest.raises(OSError, match="shorter"):
        tars.write(tmp_path / "a.tar", entries)


def test_difference_leaves_out_what_is_as_before(tmp_path: Path) -> None:
    lower = tree(tmp_path / "lower", {"etc/same": "s", "etc/changed": "before", "usr/untouched": ""})
    upper = tree(tmp_path / "upper", {"etc/same": "s", "etc/changed": "after", "usr": None, "new/file": "n"})
    found = tars.difference(upper, lower, EPOCH)
    assert [entry.name for entry in found] == ["", "etc", "etc/changed", "new", "new/file"]


def test_nothing_changed_is_an_empty_difference(tmp_path: Path) -> None:
    lower = tree(tmp_path / "lower", {"etc/same": "s"})
    upper = tree(tmp_path / "upper", {"etc/same": "s"})
    assert tars.difference(upper, lower, EPOCH) == []


def test_a_changed_mode_is_a_difference(tmp_path: Path) -> None:
    lower = tree(tmp_path / "lower", {"folder": None, "file": "x"})
    upper = tree(tmp_path / "upper", {"folder": None, "file": "x"})
    (upper / "folder").chmod(0o700)
    (upper / "file").chmod(0o600)
    assert [entry.name for entry in tars.difference(upper, lower, EPOCH)] == ["", "file", "folder"]


def test_hard_links_of_an_upper_folder_hold_together(tmp_path: Path) -> None:
    lower = tree(tmp_path / "lower", {"a": "x"})
    upper = tree(tmp_path / "upper", {"a": "x"})
    os.link(upper / "a", upper / "b")
    path = pack(tmp_path / "d.tar", tars.difference(upper, lower, EPOCH))
    assert names(path) == [".", "./a", "./b"]


@pytest.mark.root  # character devices are made by root
def test_whiteouts_of_overlayfs_are_kept_where_there_was_something(tmp_path: Path) -> None:
    lower = tree(tmp_path / "lower", {"gone": "x"})
    upper = tree(tmp_path / "upper", {})
    upper.mkdir()
    for name in ("gone", "never-was"):
        os.mknod(upper / name, stat.S_IFCHR | 0o000, os.makedev(0, 0))
    found = tars.difference(upper, lower, EPOCH)
    assert [(entry.name, entry.device) for entry in found] == [("", None), ("gone", (0, 0))]


@pytest.mark.root  # character devices are made by root
def test_an_empty_folder_that_is_removed_hides_no_other_layer(tmp_path: Path) -> None:
    """As packages do whose unit is not enabled: the guest's own units are enabled in that folder."""
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    (lower / "sysinit.target.wants").mkdir(parents=True)
    (lower / "kept").mkdir()
    (lower / "kept" / "file").write_text("one")
    upper.mkdir()
    for name in ("sysinit.target.wants", "kept"):
        os.mknod(upper / name, stat.S_IFCHR, os.makedev(0, 0))
    assert [entry.name for entry in tars.difference(upper, lower, EPOCH)] == ["", "kept"]


@pytest.mark.root  # trusted attributes are root's
def test_an_opaque_folder_becomes_whiteouts(tmp_path: Path) -> None:
    lower = tree(tmp_path / "lower", {"d/one": "1", "d/two": "2"})
    upper = tree(tmp_path / "upper", {"d/two": "new"})
    os.setxattr(upper / "d", "trusted.overlay.opaque", b"y")
    found = {entry.name: entry.device for entry in tars.difference(upper, lower, EPOCH)}
    assert found == {"": None, "d": None, "d/one": (0, 0), "d/two": None}


def merged(tmp_path: Path, *layers: list[tars.Entry]) -> Path:
    paths = [pack(tmp_path / f"layer{n}.tar", entries) for n, entries in enumerate(layers)]
    tars.merge(tmp_path / "merged.tar", paths)
    return tmp_path / "merged.tar"


def file(name: str, content: str, **more: object) -> tars.Entry:
    encoded = content.encode()
    return tars.Entry(name=name, mode=stat.S_IFREG | 0o644, content=encoded, size=len(encoded), **more)  # type: ignore[arg-type]


def folder(name: str) -> tars.Entry:
    return tars.Entry(name=name, mode=stat.S_IFDIR | 0o755)


def link(name: str, target: str) -> tars.Entry:
    return tars.Entry(name=name, mode=stat.S_IFREG | 0o644, link=target, hard=True)


def test_merge_takes_the_upper_file(tmp_path: Path) -> None:
    path = merged(tmp_path, [folder(""), file("a", "low"), file("z", "z")], [folder(""), file("a", "high")])
    assert names(path) == [".", "./a", "./z"]
    assert text(path, "./a") == "high"


def test_merge_resolves_whiteouts_of_files_and_folders(tmp_path: Path) -> None:
    lower = [folder(""), folder("d"), file("d/x", "x"), file("d.x", "other"), file("f", "f")]
    path = merged(tmp_path, lower, [folder(""), tars.whiteout("d", EPOCH), tars.whiteout("f", EPOCH)])
    assert names(path) == [".", "./d.x"]


def test_merge_keeps_a_folder_of_both(tmp_path: Path) -> None:
    path = merged(
        tmp_path, [folder(""), folder("d"), file("d/a", "")], [folder(""), folder("d"), file("d/b", "")]
    )
    assert names(path) == [".", "./d", "./d/a", "./d/b"]


def test_a_file_in_place_of_a_folder_hides_all_of_it(tmp_path: Path) -> None:
    path = merged(tmp_path, [folder(""), folder("d"), file("d/a", "")], [folder(""), file("d", "now a file")])
    assert names(path) == [".", "./d"]


def test_a_hard_link_outlives_its_first_name(tmp_path: Path) -> None:
    lower = [folder(""), file("a", "content"), link("b", "a"), link("c", "a")]
    path = merged(tmp_path, lower, [folder(""), file("a", "replaced")])
    assert (text(path, "./a"), text(path, "./b"), text(path, "./c")) == ("replaced", "content", "content")


def test_whiteout_then_back_again(tmp_path: Path) -> None:
    path = merged(
        tmp_path,
        [folder(""), folder("d"), file("d/old", "")],
        [folder(""), tars.whiteout("d", EPOCH)],
        [folder(""), folder("d"), file("d/new", "")],
    )
    assert names(path) == [".", "./d", "./d/new"]


def test_cpio_is_read_by_cpio_and_ends_aligned(tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(b"x" * 1001)
    out = io.BytesIO()
    cpio.write_archive(out, [cpio.folder("nxc"), cpio.Member(name="nxc/a", mode=0o100644, content=b"abc")])
    assert out.tell() % 512 == 0
    cpio.write_archive(out, [cpio.Member(name="nxc/big", mode=0o100444, source=big)])
    assert out.tell() % 512 == 0
    listed = subprocess.run(["cpio", "-tv", "--quiet"], input=out.getvalue(), capture_output=True, check=True)
    assert listed.stdout.decode().split()[0] == "drwxr-xr-x"
    assert "nxc/a" in listed.stdout.decode()
    assert out.getvalue().count(b"TRAILER!!!") == 2


def test_cpio_is_the_same_each_time() -> None:
    made = []
    for _ in range(2):
        out = io.BytesIO()
        cpio.write_archive(out, [cpio.Member(name="init", mode=0o100755, content=b"#!")])
        made.append(out.getvalue())
    assert made[0] == made[1]
