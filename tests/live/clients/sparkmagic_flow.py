"""sparkmagic: what its magics and kernels do to run a cell, through its own controller."""
import os
import tempfile

os.environ["SPARKMAGIC_CONF_DIR"] = tempfile.mkdtemp()  # nobody's ~/.sparkmagic
from sparkmagic.auth.basic import Basic  # noqa: E402
from sparkmagic.livyclientlib.command import Command  # noqa: E402
from sparkmagic.livyclientlib.endpoint import Endpoint  # noqa: E402
from sparkmagic.livyclientlib.sparkcontroller import SparkController  # noqa: E402
from sparkmagic.livyclientlib.sqlquery import SQLQuery  # noqa: E402
from hdijupyterutils.ipythondisplay import IpythonDisplay  # noqa: E402

from flow import PASSWORD, URL, USER, done

login = Basic()
login.username, login.password = USER, PASSWORD
endpoint = Endpoint(URL, login)
controller = SparkController(IpythonDisplay())
controller.add_session("notebook", endpoint, False, {"kind": "pyspark"})
ok, answer, _ = controller.run_command(Command("print((6 * 7, sc.sparkUser()))"), "notebook")
frame = controller.run_sqlquery(SQLQuery("select 40 + 2 as n"), "notebook")
listed = [session.status for session in controller.get_all_sessions_endpoint(endpoint)]
controller.delete_session_by_name("notebook")
controller.cleanup()
done(ok=ok, answer=answer.strip(), frame=frame["n"].tolist(), listed=listed)
