"""Runs the program on recordings of wrong ports, and grades what it says about them."""
