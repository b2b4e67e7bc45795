"""What `rsds profile` watches: ADDRESS. A map, a dependent sum and a bag on two real workers; all released at the end."""

import sys

import dask.bag as db
from dask.distributed import Client, wait


def main(address: str) -> None:
    with Client(address, set_as_default=True) as client:
        client.wait_for_workers(2, timeout=60)
        parts = client.map(lambda i: i, range(400))
        wait(parts)
        assert client.submit(sum, parts).result() == sum(range(400))
        bag = db.from_sequence(range(1_000), npartitions=50)
        assert bag.map(lambda i: i + 1).sum().compute() == sum(range(1, 1_001))


main(sys.argv[1])
