"""Long work, `/v1/jobs`: asked for once, drawn by whichever replica has time, kept for days.

    <place>/open/<job>.<owner>.json            the lease; there while the job has not ended
    <place>/keys/<owner>/<job>/job.json        what was asked: whoever reads it has the job
                              /attempts/...    a record for each picture, first come wins, and files
                              /manifest.json   the pictures as an artifact, with their lineage
                              /end.json        how it ended
    <place>/kept/<time>.<job>.<owner>.json     when it is to be removed, or looked for again
    <place>/idempotency/<owner>/<digest>.json  which job an Idempotency-Key made

Nothing of a job is in a replica's memory alone. `job.json`, a picture's record
(`batch/commits.py`), the manifest and `end.json` are created once, by conditional writes; so
whoever draws, and however many do, each picture is in the job once. The lease only keeps work from
being done twice: it is moved by compare-and-swap, and lapses when it has not moved for a while.

    api -> intake, view -> place -> records       worker -> drawing, publishing -> pictures -> place
"""
