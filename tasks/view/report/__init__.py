"""Report: one HTML page about the last build that did anything, for people, with nothing to load.

content.py gathers what is known, drawing.py makes pictures of it, page.py the page.
"""
