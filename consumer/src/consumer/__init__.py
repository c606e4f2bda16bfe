"""The partner's side of Stimset. `consumer.pipeline` is the main path on one screen; start there."""
