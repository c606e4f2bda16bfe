"""``custodian train``: the teacher, and the networks that inhibition works against."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from custodian.cli.options import DeviceOption, HomeOption, SeedOption
from custodian.config import Home
from stimset import console


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(train)


@console.reports_errors
def train(
    architecture: Annotated[
        str,
        typer.Option("--architecture", help="Of the teacher: cnn, deep_cnn, tcn, lstm, gru, ...; several joined by +."),
    ] = "cnn+spectral_mlp",
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, max=1000, help="At most; validation persons choose the best.")
    ] = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    home: HomeOption = None,
    format: console.Format = console.FORMAT_OPTION,
) -> None:
    """Train the teacher, and the identity networks that inhibition works against.

    Builds on 'custodian ingest'. Leaves HOME/teacher, which never leaves the home. Persons kept apart choose the epoch by Cohen's kappa;
    the same seed gives the same teacher.

    Example: custodian train --architecture cnn+tcn+gru
    """
    from dataclasses import replace

    from custodian import pipeline
    from custodian.cohort import Cohort
    from custodian.device import choose_device
    from custodian.inhibition import IDENTITY_ARCHITECTURES, IDENTITY_PLAN
    from custodian.teacher.training import TEACHER_PLAN
    from stimset.learning.networks import member_names

    opened = Home.open(home)
    cohort = Cohort.load(opened.cohort)
    plan = replace(TEACHER_PLAN, epochs=epochs, steps_at_least=0) if epochs else TEACHER_PLAN
    rounds = [plan.with_enough_steps(len(cohort.training)).epochs] * len(member_names(architecture))
    rounds += [IDENTITY_PLAN.with_enough_steps(len(cohort.training)).epochs] * len(IDENTITY_ARCHITECTURES)
    with console.progress("training", sum(rounds)) as step:
        watched = _in_sequence(step, rounds)
        teachers = pipeline.train(
            opened,
            cohort,
            architecture=architecture,
            plan=plan,
            seed=seed,
            device=choose_device(device),
            on_step=watched,
        )
    kappa = float(teachers.teacher.facts["validationKappa"])
    document = {
        "architecture": architecture, "validation_kappa": kappa, "epochs": teachers.teacher.facts["epochs"],
        "digest": teachers.teacher.digest(), "identity_networks": [n.architecture for n in teachers.identity],
    }  # fmt: skip
    console.show(
        format, document, f"teacher           {architecture}, kappa {kappa:.3f} on {len(cohort.validation_persons)} persons kept apart",
        f"identity networks {', '.join(n.architecture for n in teachers.identity)}",
        "next              custodian excite --recipe spectral --count 8000 --set main",
    )  # fmt: skip


def _in_sequence(step: console.Step, rounds: list[int]) -> Any:
    """Progress of several trainings in a row, each of which counts its epochs from 1 and may stop early."""
    state = {"round": -1}

    def on_step(epoch: float, note: str) -> None:
        if epoch == 1:
            state["round"] += 1
        step(sum(rounds[: state["round"]]) + epoch, note)

    return on_step
