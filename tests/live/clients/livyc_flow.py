"""livyc: a script in a session. The login goes into the URL, as it knows no other way."""
from livyc import livyc

from flow import PASSWORD, URL, USER, done

host, port_and_path = URL.removeprefix("http://").split(":")
client = livyc.LivyC({
    "livy_server_url": f"{USER}:{PASSWORD}@{host}", "port": port_and_path, "jars": []})
session = client.create_session()
client.run_script(session, "answer = 6 * 7")
answer = client.read_variable(session, "answer")
session.__del__()  # it deletes the Livy session nowhere else
del session._session_id
done(answer=answer)
