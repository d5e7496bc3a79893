"""Drawing for requests that come one by one, while others are being drawn.

    HTTP:    http_api -> images_api, jobs/ -> drawers      (one process, or several)
    drawing: replica -> engine/                            (one process for each device)

They meet in `request.py`, which is plain data; `app.py` joins them by Ray Serve, `job.py` runs that
on one machine.
"""
