"""Rounds of a graph whose results nobody keeps.   rounds.py ADDRESS ROUNDS TASKS FOLDER

After rounds 10 and ROUNDS it waits until FOLDER has a file of the round's number: then something was measured.
"""

import sys
import time
from pathlib import Path

from dask.distributed import Client, wait


def inc(x):
    return x + 1


def main(address, rounds, tasks, folder):
    with Client(address, timeout=60) as client:
        for number in range(1, rounds + 1):
            parts = client.map(inc, range(tasks - 1), pure=False)
            total = client.submit(sum, parts, pure=False)
            wait(total, timeout=120)
            del parts, total
            if number in (10, rounds):
                print(f"round {number}", flush=True)
                while not (Path(folder) / str(number)).exists():
                    time.sleep(0.1)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
