"""What the custodian remembers between processes: partners, their certificates and grants."""
