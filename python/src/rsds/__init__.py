"""Dask clusters with the rsds scheduler: ``RsdsCluster`` is a ``LocalCluster`` whose scheduler is rsds."""

from rsds.cluster import RsdsCluster
from rsds.launch import LaunchError, scheduler_command
from rsds.process import RsdsScheduler, SchedulerEndedError

__all__ = ["LaunchError", "RsdsCluster", "RsdsScheduler", "SchedulerEndedError", "scheduler_command"]
