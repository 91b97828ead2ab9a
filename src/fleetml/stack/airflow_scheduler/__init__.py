"""Plugins of the embedded Airflow's scheduler, a folder that it alone is told of."""
