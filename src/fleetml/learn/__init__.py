"""What several stages share to learn and to judge forecasters: windows, graphs, metrics, models."""
