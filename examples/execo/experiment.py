#!/usr/bin/env python3
"""Measure the throughput from clients to a server, for every combination of parameters.

    python3 experiment.py --flavour vm-ramdisk --clients 2

The nodes are taken, used and given back by one run, whatever ends it. Results are in the folder that the
engine names after itself and the time; `-c FOLDER` goes on with an experiment that was stopped.
"""

import json
from pathlib import Path

from execo import Get, Put, Remote, SshProcess
from execo_engine import Engine, ParamSweeper, logger, sweep

from nxc_core import NxcError
from nxc_execo import Deployment, deployed


class Throughput(Engine):
    def __init__(self) -> None:
        super().__init__()
        parser = self.args_parser
        parser.add_argument("--flavour", default="vm-ramdisk", help="where the nodes are (nxc flavour list)")
        parser.add_argument("--clients", type=int, default=2, help="number of clients")
        parser.add_argument("--machines", help="for flavours that need some: a machine file, or host,host")
        parser.add_argument("--streams", type=int, nargs="+", default=[1, 4], help="parallel streams to try")
        parser.add_argument("--seconds", type=int, default=1, help="duration of one measure")

    def run(self) -> None:
        results = Path(self.result_dir).absolute()
        parameters = sweep({"streams": self.args.streams, "seconds": [self.args.seconds]})
        sweeper = ParamSweeper(str(results / "sweeps"), parameters)
        with deployed(
            Path(__file__).parent,
            flavour=self.args.flavour,
            machines=self.args.machines,
            roles={"client": self.args.clients},
        ) as deployment:
            self.describe(deployment, results)
            while combination := sweeper.get_next():
                try:
                    self.measure(deployment.roles, combination, results)
                except RuntimeError as error:
                    logger.error("%s: %s", combination, error)
                    sweeper.skip(combination)
                except BaseException:  # Ctrl-C: it is to be done again
                    sweeper.cancel(combination)
                    raise
                else:
                    sweeper.done(combination)
        logger.info("%s", sweeper)
        if sweeper.get_skipped():
            raise SystemExit(1)

    def describe(self, deployment: Deployment, results: Path) -> None:
        """Keep what every node of every role is."""
        description = checked(Remote("describe", deployment.hosts))
        nodes = [json.loads(process.stdout) for process in description.processes]
        (results / "nodes.json").write_text(json.dumps(nodes, indent=2))

    def measure(self, roles: dict, combination: dict, results: Path) -> None:
        """Run one combination on all clients, one after the other, and fetch what they have found."""
        (server,) = roles["server"]
        goal = results / "measures" / "-".join(f"{k}={v}" for k, v in sorted(combination.items()))
        goal.mkdir(parents=True, exist_ok=True)
        (goal / "combination.json").write_text(json.dumps(combination))
        checked(Put(roles["client"], [str(goal / "combination.json")], "/tmp"))
        line = f"measure {server.address} {combination['streams']} {combination['seconds']}"
        serving = SshProcess("serve", server).start()
        try:
            serving.expect("Server listening", timeout=60)
            for client in roles["client"]:
                checked(Remote(line + " >/tmp/{{{host}}}.json", [client]))
        finally:
            serving.kill().wait()  # ends it on the node, too
        checked(Get(roles["client"], ["/tmp/{{{host}}}.json"], str(goal)))


def checked(action: Remote) -> Remote:
    """Run an action; raises RuntimeError with what its first failed process said."""
    action.run()
    for process in action.processes:
        if not process.finished_ok:
            told = process.stderr.strip() or process.stdout.strip() or f"exit code {process.exit_code}"
            raise RuntimeError(f"{process.host.address}: {told}")
    return action


if __name__ == "__main__":
    try:
        Throughput().start()
    except NxcError as error:
        raise SystemExit(f"error: {error}\nhint: {error.hint}") from None
