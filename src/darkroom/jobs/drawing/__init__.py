"""Drawing with a model, whichever verb asks: `sample`, `generate`, and what serves requests.

`config.py` is what a worker is told, `device.py` where its model runs, `drawer.py` the protocol
that `class_conditional.py` and `text_to_image.py` fulfil, `load.py` the choice between them.
`stage.py` and `encode.py` are the two stages of a batch pipeline that draws.
"""
