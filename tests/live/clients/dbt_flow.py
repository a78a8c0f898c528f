"""dbt-spark-livy: `dbt run` of one model, in the SQL sessions that dbt makes for it."""
import subprocess
import sys
import tempfile
from pathlib import Path

from flow import PASSWORD, URL, USER, done

DBT = Path(__file__).with_name("dbt_on_3_11.py")


with tempfile.TemporaryDirectory() as work:
    project = Path(work)
    (project / "models").mkdir()
    (project / "models" / "answer.sql").write_text("select 6 * 7 as answer\n")
    (project / "dbt_project.yml").write_text("""
name: tests
version: "1.0"
config-version: 2
profile: tests
models: {+materialized: view}
""")
    # The host ends in a slash, as in dbt-spark-livy's own README. Nobody is told of this run.
    (project / "profiles.yml").write_text(f"""
tests:
  target: live
  outputs:
    live: {{type: spark_livy, method: livy, host: {URL}/, schema: default, user: {USER},
           password: {PASSWORD}, threads: 1, usage_tracking: false}}
config: {{send_anonymous_usage_stats: false}}
""")
    ran = subprocess.run(
        [sys.executable, DBT, "--no-use-colors", "run", "--project-dir", project,
         "--profiles-dir", project], text=True, cwd=project,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
print(ran.stdout)
if ran.returncode:
    sys.exit(f"dbt ended with {ran.returncode}")
done(made="PASS=1 WARN=0 ERROR=0" in ran.stdout)
