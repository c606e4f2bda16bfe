"""The parts of the soak test: partners that pull, lines that break, a daemon that is killed, and the reckoning."""
