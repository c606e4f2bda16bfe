"""What the deep audit's numbers mean, for the person who signs, and what they do not say."""

from __future__ import annotations

from custodian.gate.attacks.attribute import LEAST_PER_GROUP

SUBJECTS = {
    "everything": "students of the release and the stimuli themselves, together",
    "student": "a {family} trained on the release",
    "stimuli": "the stimuli themselves (distances)",
    "teacher": "the teacher, which is never released",
    "singled": "stimuli that point at a person",
}
MEMBERSHIP = (
    "How well an attacker who holds a person's recording tells from {subject} whether that person was among those that a release was made "
    "from: the chance (AUC) that a person inside looks more like it than one outside; 0.5 is guessing, 1 is certainty."
)
SINGLING_OUT = (
    "How well it shows who was inside that stimuli lie clearly nearer to one person's windows than to all others' "
    "(AUC; 0.5 is guessing)."
)
ATTRIBUTE = (
    "How much more of a person's true {attribute} is read off the stimuli nearest to the person's windows when the person was inside than "
    "when not (difference of shares); 0 or less is no disclosure."
)
CANARIES = (
    "How well it shows in a release whether persons with a planted tone and consistently wrong labels were inside (AUC; 0.5 is guessing): "
    "the worst case of somebody whom a teacher could learn by heart."
)
CAVEATS = {
    "membership": (
        "It measures the way the set was made (recipe, regime, cohort) in worlds of half the persons; with all of them a person counts for "
        "less. It says nothing of attackers with other knowledge, and few persons make it uncertain: read the interval."
    ),
    "teacher": "The teacher stays inside. The number shows what there is to leak, not what leaks.",
    "singling-out": "Nearness alone proves nothing; only the difference between worlds with and without the person counts here.",
    "attribute": (
        "What is true of anybody like the person (a population's heart rates tell age) is no disclosure and is not counted. Attributes "
        "that the person table does not name were not tried."
    ),
    "canaries": "Worse than any real patient, so an upper bound in spirit; but other signatures might be remembered otherwise.",
}


def no_attribute(name: str | None = None) -> str:
    """Why an attribute could not be guessed, and what it would take."""
    if name is None:
        return (
            "the recordings came without sex, age or BMI; put them beside the persons in persons.csv and ingest again"
        )
    return f"fewer than two groups of '{name}' have {LEAST_PER_GROUP} persons; the cohort is too uniform or too small"
