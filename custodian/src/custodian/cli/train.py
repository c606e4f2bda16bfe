"""``custodian train``: the teacher, and the networks that inhibition works against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from custodian.cli.options import DeviceOption, HomeOption, SeedOption
from custodian.config import Home
from stimset import console
from stimset.errors import ConfigError

if TYPE_CHECKING:
    from custodian.teacher.accounting import PrivacyTarget
    from custodian.teacher.checkpoint import TrainedNetwork
    from stimset.learning.training import TrainingPlan


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(train)


@console.reports_errors
def train(
    architecture: Annotated[
        str,
        typer.Option(
            "--architecture",
            help="Of the teacher: cnn, deep_cnn, tcn, lstm, gru, transformer, ...; several joined by +.",
        ),
    ] = "cnn+spectral_mlp",
    regime: Annotated[
        str,
        typer.Option(
            "--regime",
            help="What keeps it from remembering patients: plain, regularised, aggregated, cross-fitted; with a proof: pate, dp-sgd.",
        ),
    ] = "regularised",
    epsilon: Annotated[
        float | None,
        typer.Option("--epsilon", min=0.0, help="Of pate and dp-sgd: the privacy of a person, 8 unless given."),
    ] = None,
    delta: Annotated[
        float | None,
        typer.Option("--delta", min=0.0, max=1.0, help="Of pate and dp-sgd: well below 1/persons, 1e-4 unless given."),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs", min=1, max=1000, help="At most; validation persons choose the best. Of dp-sgd: steps."
        ),
    ] = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    home: HomeOption = None,
    format: console.Format = console.FORMAT_OPTION,
) -> None:
    """Train the teacher, and the identity networks that inhibition works against.

    Builds on 'custodian ingest'. Leaves HOME/teacher, which never leaves the home. Persons kept apart choose the epoch by Cohen's kappa;
    the same seed gives the same teacher.

    What a teacher remembers of a patient, its labels tell. The regime is what is done against it; its guarantee stands in the card:
    plain (early stopping alone), regularised (mixup across persons, dropout, smoothing), aggregated (mean of teachers on disjoint groups of
    persons), cross-fitted (mean of teachers on random halves). With a proof, at a price that small cohorts can't pay: pate (a student of
    noisy labels) and dp-sgd (noisy gradients); they spend the cohort's privacy budget before they start, and their noise obeys no seed.

    Example: custodian train --architecture cnn+tcn+gru --regime cross-fitted
    """
    from custodian import pipeline
    from custodian.cohort import Cohort
    from custodian.device import choose_device
    from custodian.inhibition import IDENTITY_ARCHITECTURES, identity_plans
    from custodian.teacher.training import planned_rounds

    opened = Home.open(home)
    cohort = Cohort.load(opened.cohort)
    plan, privacy = _plan_of(regime, epochs), _target_of(regime, epsilon, delta)
    rounds = planned_rounds(cohort, architecture=architecture, regime=regime, plan=plan, seed=seed)
    for identity in identity_plans():
        rounds += [identity.with_enough_steps(len(cohort.training)).epochs] * len(IDENTITY_ARCHITECTURES)
    with console.progress("training", sum(rounds)) as step:
        teachers = pipeline.train(
            opened, cohort, architecture=architecture, regime=regime, plan=plan, privacy=privacy, seed=seed, device=choose_device(device),
            on_step=_in_sequence(step, rounds),
        )  # fmt: skip
    facts = teachers.teacher.facts
    kappa = float(facts["validationKappa"])
    document = {
        "architecture": architecture, "regime": regime, "guarantee": facts["guarantee"], "epsilon": facts.get("epsilon"),
        "delta": facts.get("delta"), "validation_kappa": kappa, "epochs": facts["epochs"], "digest": teachers.teacher.digest(),
        "identity_networks": [n.architecture for n in teachers.identity],
    }  # fmt: skip
    console.show(
        format, document, f"teacher           {architecture}, kappa {kappa:.3f} on {len(cohort.validation_persons)} persons kept apart",
        f"regime            {regime}. {facts['guarantee']}",
        f"identity networks {len(teachers.identity)}: {_kinds(teachers.identity)}",
        "next              custodian excite --recipe spectral --count 16000 --set main",
    )  # fmt: skip


def _kinds(networks: Sequence[TrainedNetwork]) -> str:
    """Their architectures and the noise that each was trained under, for people."""
    architectures = dict.fromkeys(n.architecture for n in networks)
    levels = sorted({float(n.facts["plan"]["noise"]) for n in networks})
    return f"{', '.join(architectures)}; each trained under noise of {' and '.join(f'{level:g}' for level in levels)}"


def _plan_of(regime: str, epochs: int | None) -> TrainingPlan | None:
    """The regime's plan with so many epochs; None leaves it as it is."""
    from custodian.teacher.regimes import regime_of

    plan = regime_of(regime).plan
    return replace(plan, epochs=epochs, steps_at_least=0) if epochs else None


def _target_of(regime: str, epsilon: float | None, delta: float | None) -> PrivacyTarget:
    """What a regime with a proof keeps to.

    Raises:
        ConfigError: a number was given to a regime that proves nothing.
    """
    from custodian.teacher.regimes import REGIMES, regime_of
    from custodian.teacher.training import DEFAULT_TARGET

    if regime_of(regime).draws is None and (epsilon, delta) != (None, None):
        proven = " or ".join(name for name, known in REGIMES.items() if known.draws)
        raise ConfigError(
            f"the regime '{regime}' keeps no epsilon and delta; take --regime {proven}, or leave them out"
        )
    given = {name: value for name, value in (("epsilon", epsilon), ("delta", delta)) if value is not None}
    return replace(DEFAULT_TARGET, **given)


def _in_sequence(step: console.Step, rounds: list[int]) -> Any:
    """Progress of several trainings in a row, each of which counts its epochs from 1 and may stop early."""
    state = {"round": -1}

    def on_step(epoch: float, note: str) -> None:
        if epoch == 1:
            state["round"] += 1
        step(sum(rounds[: state["round"]]) + epoch, note)

    return on_step
