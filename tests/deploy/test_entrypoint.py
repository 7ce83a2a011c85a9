"""The container's entry point: a command, or an executor as Spark's Kubernetes scheduler asks for one, with a real driver."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sightline.java import find_java

ENTRYPOINT = Path(__file__).parents[2] / "streaming/deploy/entrypoint.sh"

# A driver whose cluster has no executors of its own: the one that the entry point starts gets all its tasks. It is told what
# Kubernetes would tell a pod.
DRIVER = """
import os, subprocess, sys
from pyspark.sql import SparkSession

builder = SparkSession.builder.master("local-cluster[0,1,1024]").config("spark.driver.host", "127.0.0.1")
spark = builder.config("spark.ui.enabled", "false").config("spark.cores.max", "1").getOrCreate()
context = spark.sparkContext
told = {
    "SPARK_DRIVER_URL": f"spark://CoarseGrainedScheduler@127.0.0.1:{context.getConf().get('spark.driver.port')}",
    "SPARK_APPLICATION_ID": context.applicationId,
    "SPARK_EXECUTOR_ID": "7",
    "SPARK_EXECUTOR_CORES": "1",
    "SPARK_EXECUTOR_MEMORY": "512m",
    "SPARK_EXECUTOR_POD_IP": "127.0.0.1",
    "SPARK_EXECUTOR_POD_NAME": "executor-7",
    "SPARK_RESOURCE_PROFILE_ID": "0",
    "JOB": "facts",
}
modules = "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED --add-opens=java.base/java.nio=ALL-UNNAMED"
options = [*modules.split(), f"-Dspark.driver.port={context.getConf().get('spark.driver.port')}", "-Dsaid.to=the executor"]
told |= {f"SPARK_JAVA_OPT_{number}": option for number, option in enumerate(options)}
with subprocess.Popen([sys.argv[1], "executor"], env=os.environ | told, stdout=sys.stderr) as executor:
    where = context.parallelize(range(2), 1).map(lambda _: (os.environ["JOB"], os.environ["NUMBA_CACHE_DIR"])).collect()
    print(where[0], (context._jsc.sc().getExecutorMemoryStatus().size()))
    spark.stop()
    executor.wait(60)
"""


def test_any_other_words_are_a_command() -> None:
    ended = subprocess.run([ENTRYPOINT, "printf", "%s-", "a b", "c"], capture_output=True, text=True, check=True)
    assert ended.stdout == "a b-c-"


def test_compiled_kernels_are_taken_to_where_they_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "image/numba").mkdir(parents=True)
    (tmp_path / "image/numba/kernel.nbi").write_text("compiled")
    environment = os.environ | {"SIGHTLINE_HOME": str(tmp_path / "image"), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    for _start in range(2):
        subprocess.run([ENTRYPOINT, "true"], env=environment, check=True)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["kernel.nbi"]


@pytest.mark.spark
def test_an_executor_runs_a_drivers_tasks(tmp_path: Path) -> None:
    (tmp_path / "driver.py").write_text(DRIVER)
    environment = os.environ | {
        "SPARK_LOCAL_IP": "127.0.0.1",
        "JAVA_HOME": str(find_java().home),
        "PYSPARK_PYTHON": sys.executable,
        "NUMBA_CACHE_DIR": str(tmp_path / "numba"),
    }
    command = [sys.executable, tmp_path / "driver.py", ENTRYPOINT]
    ended = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    # The driver's own store and one executor's.
    assert ended.stdout.strip() == f"('facts', '{tmp_path / 'numba'}') 2"
