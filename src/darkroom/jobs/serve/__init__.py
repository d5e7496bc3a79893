"""Drawing for requests that come one by one, while others are being drawn.

`request.py` is what the drawing engine is asked and answers, as plain data.
"""
