"""What runs in Flower's environment: the server, or one site, each a process of its own.

::

    python flower_side.py server ADDRESS FOLDER
    python flower_side.py site ADDRESS FOLDER NUMBER

The server keeps the last weights in FOLDER/final.npz; a site reads FOLDER/site-NUMBER.npz, which nobody else does. One process for each
site and all its rounds: Flower's newer launchers start one for each message, which costs more than the training here.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from fedavg import FINAL, Task, Weights
from flwr.client import NumPyClient
from flwr.common import ndarrays_to_parameters, parameters_to_ndarrays
from flwr.compat.client.app import start_client
from flwr.server import ServerConfig, start_server
from flwr.server.strategy import FedAvg

PATIENCE_SECONDS = 120.0


class Keeping(FedAvg):
    """Flower's federated averaging, which remembers the last mean."""

    last: Weights

    def aggregate_fit(self, server_round: int, results: Any, failures: Any) -> Any:
        """Flower's mean of the sites' answers; a site that failed ends the run, for its patients would be missing."""
        if failures:
            raise RuntimeError(f"round {server_round}: {len(failures)} site(s) failed: {failures[0]}")
        parameters, metrics = super().aggregate_fit(server_round, results, failures)
        self.last = parameters_to_ndarrays(parameters)
        return parameters, metrics


class Site(NumPyClient):
    """One hospital: its windows stay in this process, weights leave it."""

    def __init__(self, task: Task, number: int, folder: Path) -> None:
        self.task, self.number = task, number
        with np.load(folder / f"site-{number}.npz", allow_pickle=False) as file:
            self.values, self.labels = file["values"], file["labels"]

    def fit(self, parameters: Weights, config: dict[str, Any]) -> tuple[Weights, int, dict[str, Any]]:
        """One round."""
        taught = self.task.taught([np.array(p) for p in parameters], self.values, self.labels, self.number, int(config["round"]))
        return taught, len(self.labels), {}


def serve(address: str, folder: Path, task: Task, sites: int) -> None:
    """Wait for all sites, run the rounds, keep the weights."""
    strategy = Keeping(
        fraction_evaluate=0.0, min_fit_clients=sites, min_evaluate_clients=0, min_available_clients=sites,
        initial_parameters=ndarrays_to_parameters(task.first()), on_fit_config_fn=lambda number: {"round": number},
        accept_failures=False,
    )  # fmt: skip
    start_server(server_address=address, config=ServerConfig(num_rounds=task.rounds), strategy=strategy)
    np.savez(folder / FINAL, *strategy.last)


def main(role: str, address: str, place: str, number: str = "0") -> None:
    """Be the server, or a site."""
    folder = Path(place)
    agreed = json.loads((folder / "task.json").read_text())
    task = Task(**agreed["task"])
    if role == "server":
        serve(address, folder, task, agreed["sites"])
        return
    site = Site(task, int(number), folder)
    start_client(
        server_address=address, client=site.to_client(), insecure=True, transport="grpc-bidi", max_wait_time=PATIENCE_SECONDS
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
