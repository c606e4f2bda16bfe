"""The shipped recipes, as TOML files; `custodian.excitation.recipe` reads them."""
