"""A user's script, as those for NixOS Compose are written; says what it saw as JSON, in its last line.

Usage: execo_script.py FLAVOUR [ROLES] [--alice NODE...], in a project's folder; ROLES is JSON.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from execo import Get, Host, Put, Remote, SshProcess, configuration  # type: ignore[import-untyped]
from execo_engine import Engine  # type: ignore[import-untyped]

import nxc_execo
from nxc_execo import get_oar_job_nodes_nxc

LONG = "sleep 86399"


class Idioms(Engine):  # type: ignore[misc]
    """Every way in which the scripts that we know use their nodes."""

    def __init__(self) -> None:
        super().__init__()
        self.args_parser.add_argument("flavour")
        self.args_parser.add_argument("quantities", nargs="?", default="{}")
        self.args_parser.add_argument("--alice", nargs="*", default=[], help="nodes that have a user alice")
        self.told: dict[str, Any] = {}

    def run(self) -> None:
        configuration["kill_timeout"] = 30
        quantities = json.loads(self.args.quantities)
        nodes, roles = self.take(quantities)
        try:
            again, _ = self.take(quantities)
            self.told["same again"] = again == nodes
            self.told["nodes"] = list(nodes)
            self.told["roles"] = {role: [host.address for host in hosts] for role, hosts in roles.items()}
            self.run_commands(list(nodes.values()))
            self.end_commands(list(nodes.values()))
            self.copy(list(nodes.values()))
            self.change_user([host for host in nodes.values() if host.address in self.args.alice])
        finally:
            nxc_execo.give_back()

    def take(self, quantities: Any) -> Any:
        return get_oar_job_nodes_nxc(
            None, None, flavour_name=self.args.flavour, roles_quantities=quantities, port=0
        )

    def run_commands(self, hosts: list[Any]) -> None:
        hello = """echo "Hello from $(whoami), it's \\"{{{host}}}\\"" > hello"""
        Remote(hello, hosts, connection_params={"user": "root"}).run()
        said = Remote("cat hello", hosts, connection_params={"user": "root"}).run()
        self.told["hello"] = [process.stdout for process in said.processes]
        quiet = {"nolog_exit_code": True}
        failed = Remote("echo out; echo err >&2; exit 3", hosts, process_args=quiet).run()
        self.told["failed"] = [
            [os.waitstatus_to_exitcode(one.exit_code), one.stdout, one.stderr] for one in failed.processes
        ]
        cat = SshProcess("head -n 2", hosts[0]).start()
        cat.write("first\n\tsecond\n")
        self.told["input"] = cat.wait(timeout=60).stdout

    def end_commands(self, hosts: list[Any]) -> None:
        started = Remote(f"sh -c '{LONG} & {LONG}'; true", hosts).start()
        for process in started.processes:
            process.started_event.wait(60)
        self.told["running"] = self.count(hosts, at_least=2)
        started.kill().wait()
        self.told["after kill"] = self.count(hosts)
        quiet = {"nolog_exit_code": True, "nolog_timeout": True}
        late = SshProcess(f"{LONG}; echo never", hosts[0], timeout=1, **quiet).run()
        self.told["late"] = [late.timeouted, late.stdout]
        self.told["after timeout"] = self.count(hosts)

    def count(self, hosts: list[Any], at_least: int = 0) -> list[int]:
        """Count the long commands on each node; waits until there are enough."""
        found = f"grep -als '^{LONG.replace(' ', '.')}' /proc/[0-9]*/cmdline | wc -l"
        line = f"i=0; while n=$({found}); i=$((i + 1)); "
        line += f"[ $n -lt {at_least} ] && [ $i -lt 100 ]; do sleep 0.1; done; echo $n"
        return [int(process.stdout) for process in Remote(line, hosts).run().processes]

    def copy(self, hosts: list[Any]) -> None:
        folder = Path(self.result_dir).absolute() / "what is put"
        (folder / "inner").mkdir(parents=True)
        (folder / "inner/bytes").write_bytes(bytes(range(256)) * 4096)
        (folder / "program").write_text("#!/bin/sh\necho it runs\n")
        (folder / "program").chmod(0o755)
        self.told["put"] = Put(hosts, [str(folder), str(folder / "program")]).run().finished_ok
        ran = Remote("./program", hosts).run()
        self.told["ran"] = [process.stdout for process in ran.processes]
        back = Path(self.result_dir).absolute() / "back"
        back.mkdir()
        got = Get(hosts[:1], ["what is put/inner", "program"], str(back)).run()
        self.told["got"] = got.finished_ok
        self.told["bytes"] = (back / "inner/bytes").read_bytes() == (folder / "inner/bytes").read_bytes()
        self.told["mode"] = oct((back / "program").stat().st_mode & 0o777)
        missing = Get(hosts[:1], ["nothing"], str(back))
        for process in missing.processes:
            process.nolog_exit_code = True
        missing.run()
        self.told["missing"] = [missing.ok, "no such file" in missing.processes[0].stderr]

    def change_user(self, hosts: list[Any]) -> None:
        if hosts:
            alice = Host(hosts[0], user="alice")
            line = "printf '%s ' $(whoami) $PWD \"it's\"; cat"
            asked = SshProcess(line, alice, timeout=60)
            asked.nolog_exit_code = asked.nolog_timeout = True
            with asked.start():
                asked.write("input\n")
                asked.expect("input", timeout=50)
            self.told["alice"] = asked.wait().stdout
            self.told["alice after kill"] = [
                process.stdout for process in Remote("ps -o pid= -u alice || true", hosts).run().processes
            ]


if __name__ == "__main__":
    idioms = Idioms()
    idioms.start()
    print(json.dumps(idioms.told))
