"""The gate: attacks a candidate set, tries it on students, and admits or refuses it.

``attacks`` and ``utility`` measure, ``policy`` says what is allowed, ``verdict`` decides, fails closed, and is the only maker of an
`AdmittedSet`.
"""
