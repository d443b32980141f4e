"""Users and groups, written as Debian's tools would, but with the same ids every time."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nxc_core.errors import BuildError

SYSTEM_IDS = range(900, 1000)
"""Not where adduser of Debian packages begins (100)."""
NORMAL_IDS = range(1000, 60000)
Table = dict[str, list[str]]


def add(groups: Sequence[Mapping[str, Any]], users: Sequence[Mapping[str, Any]], epoch: int) -> None:
    """Add groups and users; those that Debian has already keep their ids unless given others."""
    passwd, shadow = read("passwd"), read("shadow")
    group, gshadow = read("group"), read("gshadow")
    system = {user["group"] or user["name"] for user in users if user["isSystemUser"]}
    own = [{"name": user["name"], "gid": None, "members": []} for user in users if not user["group"]]
    for wanted in sorted([*groups, *own], key=lambda each: (each["gid"] is None, each["name"])):
        ids = SYSTEM_IDS if wanted["name"] in system else NORMAL_IDS
        _add_group(group, gshadow, wanted, ids)
    for user in sorted(users, key=lambda each: (each["uid"] is None, each["name"])):
        _add_user(passwd, shadow, group, user, epoch)
    for wanted in groups:
        _add_members(group, gshadow, wanted["name"], wanted["members"])
    for user in users:
        for name in user["extraGroups"]:
            _add_members(group, gshadow, name, [user["name"]])
    for name, table, mode in (
        ("passwd", passwd, 0o644),
        ("group", group, 0o644),
        ("shadow", shadow, 0o640),
        ("gshadow", gshadow, 0o640),
    ):
        _write(name, table, mode)


def read(name: str) -> Table:
    """Read one of the tables in /etc, by name."""
    path = Path("/etc") / name
    lines = path.read_text().splitlines() if path.exists() else []
    return {line.split(":")[0]: line.split(":") for line in lines if line}


def _write(name: str, table: Table, mode: int) -> None:
    path = Path("/etc") / name
    text = "".join(":".join(row) + "\n" for row in table.values())
    if path.exists() and path.read_text() == text:
        return
    path.write_text(text)
    path.chmod(mode)


def _free(taken: Iterable[str], ids: range) -> int:
    used = set(taken)
    return next(number for number in ids if str(number) not in used)


def _add_group(group: Table, gshadow: Table, wanted: Mapping[str, Any], ids: range) -> None:
    name, gid = wanted["name"], wanted["gid"]
    if name in group and gid is None:
        return
    holder = next(
        (row[0] for row in group.values() if gid is not None and row[2] == str(gid) and row[0] != name), None
    )
    if holder is not None:
        raise BuildError(
            f"users.groups.{name}: gid {gid} is that of group {holder}", hint="choose another gid"
        )
    number = gid if gid is not None else _free((row[2] for row in group.values()), ids)
    members = group[name][3] if name in group else ""
    group[name] = [name, "x", str(number), members]
    gshadow.setdefault(name, [name, "!", "", ""])


def _add_user(passwd: Table, shadow: Table, group: Table, user: Mapping[str, Any], epoch: int) -> None:
    name, uid = user["name"], user["uid"]
    before = passwd.get(name)
    holder = next(
        (row[0] for row in passwd.values() if uid is not None and row[2] == str(uid) and row[0] != name), None
    )
    if holder is not None:
        raise BuildError(f"users.users.{name}: uid {uid} is that of user {holder}", hint="choose another uid")
    if uid is None:
        ids = SYSTEM_IDS if user["isSystemUser"] else NORMAL_IDS
        uid = int(before[2]) if before else _free((row[2] for row in passwd.values()), ids)
    gid = group[user["group"] or name][2] if name != "root" else "0"
    passwd[name] = [name, "x", str(uid), gid, user["description"], user["home"], user["shell"]]
    password = user["hashedPassword"]
    if password is None:
        password = shadow[name][1] if name in shadow else "!"
    shadow[name] = [name, password, str(epoch // 86400), "0", "99999", "7", "", "", ""]


def _add_members(group: Table, gshadow: Table, name: str, members: Iterable[str]) -> None:
    for table in (group, gshadow):
        row = table[name]
        there = [member for member in row[3].split(",") if member]
        row[3] = ",".join([*there, *(member for member in members if member not in there)])


def make_homes(users: Sequence[Mapping[str, Any]]) -> None:
    """Make the homes that are asked for, from /etc/skel."""
    passwd = read("passwd")
    for user in users:
        home = Path(user["home"])
        if not user["createHome"] or home.exists():
            continue
        home.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree("/etc/skel", home, symlinks=True)
        uid, gid = int(passwd[user["name"]][2]), int(passwd[user["name"]][3])
        for path in (home, *home.rglob("*")):
            os.chown(path, uid, gid, follow_symlinks=False)
        home.chmod(int(user.get("homeMode", "700"), 8))
