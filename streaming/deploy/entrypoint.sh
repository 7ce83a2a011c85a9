#!/usr/bin/env bash
# What a container of the job image runs. Spark's Kubernetes scheduler starts executors with the word `executor` and says the rest
# in SPARK_* variables; any other words are a command, such as spark-submit.
set -euo pipefail

home="${SIGHTLINE_HOME:-/opt/sightline}"

# The image is read-only, and numba takes no cache that it cannot write to: the compiled kernels go where it may.
if [ -n "${NUMBA_CACHE_DIR:-}" ] && [ -d "$home/numba" ] && [ ! -d "$NUMBA_CACHE_DIR" ]; then
    cp -R --preserve=timestamps "$home/numba" "$NUMBA_CACHE_DIR"
fi

if [ "${1:-}" != executor ]; then
    exec "$@"
fi

if [ "${JOB:-}" = tracking ]; then
    # A second where the cache fits this processor. Where it does not, each Python worker would compile for minutes at once.
    "$PYSPARK_PYTHON" -c 'from sightline_streaming.tracking import compile_kernels; compile_kernels()'
fi

# SPARK_JAVA_OPT_0, SPARK_JAVA_OPT_1 and so on, each one option of the JVM.
java_options=()
while IFS= read -r name; do
    java_options+=("${!name}")
done < <(compgen -A variable SPARK_JAVA_OPT_ | sort -t_ -k4 -n)

spark_home="$("$PYSPARK_PYTHON" -c 'import pathlib, pyspark; print(pathlib.Path(pyspark.__file__).parent)')"
exec "${JAVA_HOME:+$JAVA_HOME/bin/}java" \
    "${java_options[@]}" \
    "-Xms$SPARK_EXECUTOR_MEMORY" "-Xmx$SPARK_EXECUTOR_MEMORY" \
    -cp "${SPARK_CONF_DIR:+$SPARK_CONF_DIR:}${SPARK_CLASSPATH:+$SPARK_CLASSPATH:}$spark_home/jars/*" \
    org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend \
    --driver-url "$SPARK_DRIVER_URL" \
    --executor-id "$SPARK_EXECUTOR_ID" \
    --hostname "$SPARK_EXECUTOR_POD_IP" \
    --cores "$SPARK_EXECUTOR_CORES" \
    --app-id "$SPARK_APPLICATION_ID" \
    --resourceProfileId "${SPARK_RESOURCE_PROFILE_ID:-0}" \
    --podName "$SPARK_EXECUTOR_POD_NAME"
