"""The drawing engine: requests join and leave between the steps of others.

    engine -> drawing_thread -> batcher, caps, safety
    load -> class_model | load_pipeline -> family_model | whole_pipeline

It knows neither HTTP nor Ray. What it is asked and answers is `serve/request.py`; the process that
holds one is `serve/replica.py`.
"""
