def simulate_command() -> None:
    """x"""
