"""Pictures and pages for people: contact sheets, plots, the HTML report. No Ray, no I/O."""
