"""Airflow's Livy provider: its operator submits a batch, waits for it and reads its log."""
import json
import os
import tempfile

os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp()
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"

from flow import PASSWORD, URL, USER, done  # noqa: E402

# The prefix goes into the host, as the provider's documentation has no other place for it.
os.environ["AIRFLOW_CONN_LIVY_DEFAULT"] = json.dumps(
    {"conn_type": "livy", "host": URL, "login": USER, "password": PASSWORD})

from airflow.providers.apache.livy.hooks.livy import BatchState, LivyHook  # noqa: E402
from airflow.providers.apache.livy.operators.livy import LivyOperator  # noqa: E402


class TaskInstance:
    """What Airflow's task runner gives an operator; here nobody reads what it notes down."""

    stats_tags = {}

    def xcom_push(self, key, value):
        print(f"{key}: {value}")


operator = LivyOperator(task_id="count", file=os.environ["BATCH_FILE"], args=["7"],
                        polling_interval=1, proxy_user=USER)
batch = operator.execute({"ti": TaskInstance()})
hook = LivyHook()
state = hook.get_batch_state(batch)
log = hook.get_batch_logs(batch, 0, 100)["log"]
hook.delete_batch(batch)
done(succeeded=state is BatchState.SUCCESS, counted="counted 7 in plain Python" in log)
