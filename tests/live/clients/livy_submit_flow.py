"""livy-submit: its command line, submitting a file and waiting for its output."""
import subprocess
import sys
import tempfile
from pathlib import Path

from flow import PASSWORD, URL, USER, done


def livy_submit(*arguments):
    ran = subprocess.run([sys.executable, "-m", "livysubmit", "--livy-url", URL, "-u", USER,
                          "-p", PASSWORD, *arguments], text=True, stdout=subprocess.PIPE)
    print(ran.stdout)
    if ran.returncode:
        sys.exit(f"livy-submit ended with {ran.returncode}")
    return ran.stdout


with tempfile.TemporaryDirectory() as work:
    script, output = Path(work) / "script.py", Path(work) / "output"
    script.write_text("print(6 * 7)\n")
    # A name of the script's own, and numbers in conf: livy-submit sends both.
    said = livy_submit("--submit", str(script), "--driver-memory", "1g", "--output", str(output))
    answer = output.read_text().strip()
listed = livy_submit("--list-sessions")
done(answer=answer, deleted="'msg': 'deleted'" in said, none_left="no active" in listed)
