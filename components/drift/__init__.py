"""Drift: does the live traffic still look like the windows that the served model was trained on?"""
