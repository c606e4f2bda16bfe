"""The gate: attacks a candidate set, tries it on students, and admits or refuses it.

``attacks`` and ``utility`` measure, ``policy`` says what is allowed, ``judging`` holds one against the other and fails closed, ``verdict``
decides and is the only maker of an `AdmittedSet`, ``override`` lets two people overrule it in the open, ``report`` says all of it in words.

    verdict.admit ── judging.judge ── attacks, utility, policy, power
                  ├─ report.write ─── distances, templates/
                  └─ sealing          verdict.json, deep.json: what is edited counts for nothing
    verdict.readmit ─ override        a document that every key of a root of two people has signed
"""
