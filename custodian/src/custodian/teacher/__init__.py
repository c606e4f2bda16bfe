"""The teacher: trained on the patients' windows, never released. `training` makes one, `checkpoint` keeps it."""
