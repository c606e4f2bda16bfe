"""The teacher: trained on the patients' windows, never released.

`training` makes one, `regimes` says by which means it is kept from remembering single patients: on all persons (`lessons`), as the mean of
teachers on some persons each (`grouped`), or with a proof (`pate`, `dp_sgd`; `accounting` finds the noise, `public` the draws that owe
nothing to patients). `checkpoint` keeps what was trained.
"""
