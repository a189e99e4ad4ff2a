"""A Ray cluster of this machine makes a dataset, and one of its workers is killed."""

import functools
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from noise_source import NoiseSource, files_of

from semhead_lib.data.dataset.check import check
from semhead_lib.data.jobs.ray import synthesize_on_ray
from semhead_lib.data.jobs.synthesis import SynthesisError, synthesize

if not os.environ.get("CI"):  # which installs it
    pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster():
    """The address of a cluster of this machine alone; its workers find the source. Its ports are
    given: Ray's agents choose them only once they run, and on a machine that has much to do, Ray
    does not wait for them."""
    agents = ("node-manager", "object-manager", "dashboard-agent-grpc", "runtime-env-agent")
    ports = free_ports(3 + len(agents))
    words = [f"--{name}-port={port}" for name, port in zip(agents, ports[3:], strict=True)]
    words += [f"--port={ports[0]}", f"--dashboard-agent-listen-port={ports[1]}"]
    words += [f"--metrics-export-port={ports[2]}", "--include-dashboard=false", "--num-cpus=2"]
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", *words]
    paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    known = dict(PYTHONPATH=os.pathsep.join(paths), RAY_AUTH_MODE="disabled")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in known.items():
            patch.setenv(name, value)
        process = subprocess.Popen(start, stdout=subprocess.PIPE, text=True)
        for line in process.stdout:
            if "Ray runtime started" in line:
                break
        yield f"127.0.0.1:{ports[0]}"
        process.terminate()
        process.communicate()


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.mark.slow
def test_a_lost_worker_loses_nothing(cluster, tmp_path):
    alone, out, killed = tmp_path / "alone", tmp_path / "ray", []
    synthesize(
        functools.partial(NoiseSource, seed=7), alone, 41, shard_size=2, workers=0, progress=False
    )

    def kill():
        while len(list(out.glob("shard-*.tar"))) < 6:
            time.sleep(0.05)
        for process in psutil.process_iter(["cmdline"]):
            if "ray::_work" in " ".join(process.info["cmdline"] or []) and not killed:
                killed.append(process.pid)
                process.kill()

    threading.Thread(target=kill, daemon=True).start()
    source = functools.partial(NoiseSource, seed=7, delay=0.25)
    report = synthesize_on_ray(source, out, 41, workers=2, address=cluster, shard_size=2, lease=2.0)
    assert killed and report.manifest.subjects == 41
    assert files_of(out) == files_of(alone) and check(out) == []


@pytest.mark.slow
def test_a_subject_that_fails_ends_it(cluster, tmp_path):
    with pytest.raises(SynthesisError, match="subject 3: ArithmeticError: the noise ran out"):
        synthesize_on_ray(
            functools.partial(NoiseSource, fail_at=3),
            tmp_path / "ray",
            8,
            workers=1,
            address=cluster,
            shard_size=2,
        )
