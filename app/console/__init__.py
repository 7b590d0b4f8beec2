"""The console: the owner's screens, rendered here.

A route fetches and acts by calling the functions that the API's routes are made of; a pure presenter
(`present_*.py`) makes strings and numbers of what they answer; a template prints them. `entrance.py` lets
people in, `pages.py` renders, `router.py` lists the rooms.
"""
