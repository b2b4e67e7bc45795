"""A client's everyday use of a cluster that is reached by tls://, ws:// or wss://.

    transports.py ADDRESS WORKERS [CA CERT KEY]
"""

import sys

import dask.array as da
from distributed import Client, Security

address, count, *files = sys.argv[1:]
security = None
if files:
    ca, cert, key = files
    security = Security(require_encryption=True, tls_ca_file=ca, tls_client_cert=cert, tls_client_key=key)


def fails():
    raise ZeroDivisionError("on purpose")


with Client(address, security=security, timeout="20s") as client:
    client.wait_for_workers(int(count), timeout="40s")
    # The scheduler reaches its workers by themselves: broadcast, gather through the scheduler, scatter.
    scheme = address.split("://")[0]
    workers = client.run(lambda dask_worker: dask_worker.address)
    assert len(workers) == int(count), workers
    assert all(worker.startswith(f"{scheme}://") for worker in workers), workers
    assert client.scheduler_info()["address"].startswith(f"{scheme}://")

    parts = client.map(lambda x: x + 1, range(200))
    assert client.gather(parts) == list(range(1, 201))
    assert client.gather(parts, direct=False) == list(range(1, 201))
    x = da.ones((3000, 3000), chunks=(1000, 1000))
    assert (x + x.T).sum().compute() == 18_000_000.0
    large = client.scatter(bytes(20_000_000), direct=False)
    assert client.submit(len, large).result(timeout=30) == 20_000_000
    assert len(client.submit(bytes, 20_000_000).result(timeout=30)) == 20_000_000
    assert isinstance(client.submit(fails).exception(timeout=30), ZeroDivisionError)
print("fine")
