"""What runs cost: time, energy, money, CO2."""
