"""The hospital's side of Stimset. `custodian.pipeline` is the main path on one screen; start there."""
