"""Networks, the one training loop, and the families of models that both sides use (extra ``[learning]``).

``networks`` and ``training`` need torch; ``families`` names every family and imports only what the chosen one needs.
"""
