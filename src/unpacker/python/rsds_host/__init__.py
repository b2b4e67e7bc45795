"""Runs users' Python where Dask would run it inside the scheduler: functions, plugins, feeds."""
